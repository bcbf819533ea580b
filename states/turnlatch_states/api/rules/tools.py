"""Tool definitions and the choice among them: R28 and R29."""

from collections.abc import Iterator, Mapping, Sequence

from turnlatch_states.api.rules._base import (
    Context,
    Finding,
    is_array,
    is_integer,
    is_object,
    member,
    objects,
)
from turnlatch_states.api.rules._request import Body
from turnlatch_states.api.rules._rule import Rule

_TYPES = frozenset(
    {"string", "number", "integer", "boolean", "object", "array", "null"}
)
_TOP_LEVEL_UNIONS = ("oneOf", "allOf", "anyOf")
_SCHEMA_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_SCHEMA_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties", "not", "if", "then", "else", "contains")
_DIALECT = "https://json-schema.org/draft/2020-12"


def _custom(
    request: Body,
) -> Iterator[tuple[str, Mapping[str, object], Mapping[str, object]]]:
    """The client tools with an object for a schema: (path, tool, schema)."""
    for place, tool in request.tools:
        if tool.get("type") in (None, "custom"):
            schema = tool.get("input_schema")
            if is_object(schema):
                yield f"tools.{place}.custom", tool, schema


def tools_are_well_defined(request: Body, context: Context) -> Iterator[Finding]:
    """Names are unique, schemas are object schemas of draft 2020-12, examples fit them.

    At least one tool is not deferred; strict tools stay within the compiler's bounds.
    Sources: Anthropic docs agents-and-tools/tool-use. Confidence: documented, wording
    seen live; texts for examples and strict bounds are ours.
    """
    yield from request.shape_of("R28")
    if not request.tools:
        return
    names = [n for _, tool in request.tools if isinstance(n := tool.get("name"), str)]
    if len(set(names)) != len(names):
        twice = tuple(sorted({name for name in names if names.count(name) > 1}))
        yield Finding("R28", "tools", "Tool names must be unique.", related=twice)
    if all(tool.get("defer_loading") is True for _, tool in request.tools):
        yield Finding("R28", "", "All tools have defer_loading: true")
    for path, tool, schema in _custom(request):
        yield from _schema(f"{path}.input_schema", schema)
        for place, example in objects(tool.get("input_examples")):
            if not _fits(example, schema):
                where = f"{path}.input_examples.{place}"
                yield Finding("R28", where, "example does not match the input_schema")
    yield from _strict(request, context)


def _schema(path: str, schema: Mapping[str, object]) -> Iterator[Finding]:
    if "type" not in schema:
        yield Finding("R28", f"{path}.type", "Field required")
    elif schema["type"] != "object":
        yield Finding("R28", f"{path}.type", "Input should be 'object'")
    if any(union in schema for union in _TOP_LEVEL_UNIONS):
        reason = "input_schema does not support oneOf, allOf, or anyOf at the top level"
        yield Finding("R28", path, reason)
    if not _is_schema(schema):
        yield Finding(
            "R28",
            path,
            f"JSON schema is invalid. It must match JSON Schema draft 2020-12 ({_DIALECT})",
        )


def _subschemas(schema: Mapping[str, object]) -> Iterator[object]:
    for keyword in _SCHEMA_MAPS:
        children = schema.get(keyword)
        if is_object(children):
            yield from children.values()
    for keyword in _SCHEMA_LISTS:
        listed = schema.get(keyword)
        if is_array(listed):
            yield from listed
    for keyword in _SCHEMAS:
        if keyword in schema:
            yield schema[keyword]


def _is_schema(top: Mapping[str, object]) -> bool:
    """False if a keyword somewhere has a value that no schema may give it."""
    # A stack of our own: schemas may be nested deeper than Python recurses.
    waiting: list[object] = [top]
    while waiting:
        schema = waiting.pop()
        if isinstance(schema, bool):
            continue
        if not is_object(schema) or not _keywords_legal(schema, is_top=schema is top):
            return False
        waiting.extend(_subschemas(schema))
    return True


def _keywords_legal(schema: Mapping[str, object], *, is_top: bool) -> bool:
    kinds = schema.get("type", "object")
    # At the top, another finding is about the type.
    if not is_top and not all(kind in _TYPES for kind in _words(kinds)):
        return False
    maps = all(is_object(schema.get(keyword, {})) for keyword in _SCHEMA_MAPS)
    lists = all(
        keyword not in schema or (is_array(listed := schema[keyword]) and listed)
        for keyword in _SCHEMA_LISTS
    )
    required, allowed = schema.get("required", ()), schema.get("enum", ())
    names = is_array(required) and all(isinstance(name, str) for name in required)
    return maps and lists and names and is_array(allowed)


def _words(kinds: object) -> Sequence[object]:
    """The types that a schema names; an invalid type if it names none."""
    if isinstance(kinds, str):
        return (kinds,)
    if is_array(kinds) and kinds:
        return [kind if isinstance(kind, str) else "" for kind in kinds]
    return ("",)


def _fits(value: object, schema: object) -> bool:
    """True unless `value` clearly breaks the type, enum or required of `schema`."""
    waiting: list[tuple[object, object]] = [(value, schema)]
    while waiting:
        item, rule = waiting.pop()
        if not is_object(rule):
            continue
        kinds = _words(rule["type"]) if "type" in rule else ()
        if kinds and not any(_is_a(item, kind) for kind in kinds):
            return False
        allowed = rule.get("enum")
        if is_array(allowed) and item not in allowed:
            return False
        if is_object(item):
            required = rule.get("required")
            if is_array(required) and any(
                isinstance(name, str) and name not in item for name in required
            ):
                return False
            known = rule.get("properties")
            properties: Mapping[str, object] = known if is_object(known) else {}
            if rule.get("additionalProperties") is False and any(
                name not in properties for name in item
            ):
                return False
            waiting += [(item[n], properties[n]) for n in item if n in properties]
        elif is_array(item) and "items" in rule:
            waiting += [(part, rule["items"]) for part in item]
    return True


def _is_a(value: object, kind: object) -> bool:
    match kind:
        case "object":
            return is_object(value)
        case "array":
            return is_array(value)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "integer":
            return is_integer(value) or (
                isinstance(value, float) and value.is_integer()
            )
        case "number":
            return is_integer(value) or isinstance(value, float)
        case _:
            return True


def _strict(request: Body, context: Context) -> Iterator[Finding]:
    limits = context.limits
    strict = [tool for _, tool in request.tools if tool.get("strict") is True]
    if len(strict) > limits.strict_tools_max:
        reason = f"too many strict tools: {len(strict)} > {limits.strict_tools_max}"
        yield Finding("R28", "tools", reason)
    compiled = [tool.get("input_schema") for tool in strict]
    compiled.append(member(request.body, "output_config", "format", "schema"))
    optional = unions = 0
    while compiled:
        schema = compiled.pop()
        if not is_object(schema):
            continue
        properties, required = schema.get("properties"), schema.get("required")
        if is_object(properties):
            listed = required if is_array(required) else ()
            named = {name for name in listed if isinstance(name, str)}
            optional += sum(name not in named for name in properties)
            unions += sum(_is_union(part) for part in properties.values())
        compiled.extend(_subschemas(schema))
    if optional > limits.optional_parameters_max:
        most = limits.optional_parameters_max
        reason = f"too many optional parameters in strict schemas: {optional} > {most}"
        yield Finding("R28", "tools", reason)
    if unions > limits.union_parameters_max:
        most = limits.union_parameters_max
        reason = f"too many union parameters in strict schemas: {unions} > {most}"
        yield Finding("R28", "tools", reason)


def _is_union(schema: object) -> bool:
    return is_array(member(schema, "type")) or member(schema, "anyOf") is not None


def tool_choice_is_possible(request: Body, context: Context) -> Iterator[Finding]:
    """A choice has tools to choose from, and a forced one a model that allows it.

    Sources: Anthropic docs agents-and-tools/tool-use. Confidence: documented, wording
    seen live. On a continued thread the tools are the server's.
    """
    yield from request.shape_of("R29")
    choice = request.body.get("tool_choice")
    kind = member(choice, "type")
    if not isinstance(kind, str) or kind == "none":
        return
    if not request.continues:
        if not request.body.get("tools"):
            reason = "tool_choice may only be specified while providing tools."
            yield Finding("R29", "", reason)
        elif kind == "tool":
            yield from _chosen(request, member(choice, "name"))
    if kind not in ("any", "tool"):
        return
    if request.spec is not None and request.spec.forced_tool_choice is False:
        reason = 'type "tool" and "any" are not supported for this model.'
        yield Finding("R29", "tool_choice", reason)
    if member(request.body, "thinking", "type") == "enabled":
        reason = "Thinking may not be enabled when tool_choice forces tool use."
        yield Finding("R29", "", reason)


def _chosen(request: Body, name: object) -> Iterator[Finding]:
    if isinstance(name, str) and all(t.get("name") != name for _, t in request.tools):
        yield Finding("R29", "", f"Tool '{name}' not found in provided tools")


RULES = (
    Rule(
        "R28",
        "tools have unique names and object schemas",
        "Rename one of the tools, or repair the schema that the path names.",
        "Anthropic docs: agents-and-tools/tool-use/implement-tool-use (documented)",
        tools_are_well_defined,
    ),
    Rule(
        "R29",
        "tool_choice names a tool of this request on a model that can be forced",
        "Leave tool_choice out, or set it to auto and ask for the tool in words.",
        "Anthropic docs: agents-and-tools/tool-use/implement-tool-use (documented)",
        tool_choice_is_possible,
    ),
)
"""The rules of this module."""
