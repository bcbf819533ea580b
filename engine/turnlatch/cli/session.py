"""The loop of a chat: reads a line, runs a turn, shows it, and starts again.

The event loop runs only while a turn does. At the prompt the line editor has the main
thread, and Ctrl-C works as in any program. While a turn runs the loop reads the keys: Enter
steers the turn with the line, and the next prompt begins with the remaining keys.
"""

import asyncio
import contextlib
import shlex
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, Final, TypeVar, final

import anyio
import attrs

from turnlatch.cli.ahead import Ahead, is_command
from turnlatch.cli.footer import Progress, Standing, countdown, footer
from turnlatch.cli.hints import in_chat, next_step
from turnlatch.cli.keyboard import typed
from turnlatch.cli.screen import Screen
from turnlatch.cli.terminal import Ink, Look, one_line
from turnlatch.cli.transcript import (
    SPEAKER,
    Transcript,
    counted,
    ending,
    log_lines,
    shown_arguments,
)
from turnlatch.conversation import Conversation
from turnlatch.errors import TurnlatchError
from turnlatch.result import CallReport, Turn
from turnlatch.watching.events import Cursor, Recorded, TurnEnded
from turnlatch.watching.stream import Watch
from turnlatch_states.machine.call import CallState, Closing, expired
from turnlatch_states.machine.turn import TurnState

_T = TypeVar("_T")

HINT_SECONDS: Final = 2.0
"""A second Ctrl-C within this time leaves."""

TICK_SECONDS: Final = 0.1
"""How often the footer is brought up to date while a turn runs."""

EXIT_FAILED, EXIT_UNDECIDED, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 3, 130, 143


@final
class Footer:
    """The footer of one chat, as a function of its last progress.

    Args:
        look: Colours and glyphs.
        standing: The facts that stay the same between turns, read each time.
    """

    def __init__(self, look: Look) -> None:
        self._look = look
        self.progress = Progress()
        self.standing = Standing(live=False, model="", name="")

    def __call__(self, width: int) -> tuple[str, str]:
        """The two lines now."""
        return footer(self.progress, self.standing, time.time(), self._look, width)


@final
@attrs.define(eq=False)
class Session:
    """One chat.

    Attributes:
        chat: The conversation, entered.
        runner: The event loop it was entered in.
        screen: The screen.
        footer: The footer.
        live: False if the simulator of this command answers.
        asks: True if a person types; otherwise the whole input is one message.
        inject: Gives the simulator a fault script; None with the API.
        where: The store, for messages to people.
        told: Notices of the store.
        command: Runs one line that begins with a slash; True to leave the chat.
        unasked: True if the simulator answers only because no credentials are set.
    """

    chat: Conversation
    runner: asyncio.Runner
    screen: Screen
    footer: Footer
    live: bool
    asks: bool
    inject: Callable[[str], None] | None
    where: str
    told: tuple[str, ...]
    command: Callable[["Session", str], bool]
    unasked: bool = False
    _transcript: Transcript = attrs.field(init=False)
    _interrupted: bool = attrs.field(default=False, init=False)
    _terminated: bool = attrs.field(default=False, init=False)
    _hinted: float = attrs.field(default=0.0, init=False)
    _failed: bool = attrs.field(default=False, init=False)
    _deferred: set[str] = attrs.field(factory=set[str], init=False)

    def __attrs_post_init__(self) -> None:
        turn = self.chat.turn
        self._transcript = Transcript(
            self.screen.look,
            self.screen.width,
            self._replies,
            0 if turn is None else turn.number,
        )
        if turn is not None and turn.awaiting:
            asked = TurnEnded(Cursor(), turn)  # as the footer was told when it was
            self.footer.progress = self.footer.progress.after(asked, time.time())
        self._stand()

    @property
    def real(self) -> bool:
        """False if an answer is made up, or may be taken for one that is not."""
        return self.live and not self.chat.simulated

    # The loop.

    def run(self) -> int:
        """Read and answer until the person leaves; the exit code."""
        while True:
            try:
                code = self._step()
            except KeyboardInterrupt:
                if not self.asks:
                    raise
                code = EXIT_INTERRUPTED if self._ctrl_c() else None
                if code is not None:
                    self._goodbye()
            if code is not None:
                return code

    def _step(self) -> int | None:
        """Read one input and do what it asks; the exit code, to leave."""
        if self.asks:
            self._ask_approvals()
        try:
            line = self._read()
        except EOFError:
            return self._leave()
        self._hinted = 0.0
        text = line.strip()
        if self.asks and is_command(text):
            if self.command(self, text):
                return self._leave()
        elif text:
            self.send(text[1:] if self._escaped(text) else line.rstrip("\r\n"))
        elif not self.asks:
            self.note("there was nothing to say")
        if self._terminated:
            return EXIT_TERMINATED
        return EXIT_INTERRUPTED if self._interrupted and not self.asks else None

    def _escaped(self, text: str) -> bool:
        """True for a line that would be a command with one slash less."""
        return self.asks and text.startswith("//") and "\n" not in text

    def _read(self) -> str:
        if not self.asks:
            return self.screen.ask("")
        look = self.screen.look
        shown = "you > " if self.real else "SIM you > "
        if look.colour:  # the marks tell the line editor what takes no room
            shown = f"\x01\x1b[1m\x02{shown}\x01\x1b[0m\x02"
        self.screen.say("\n")
        ahead = self.screen.ahead
        return self.screen.ask(shown, "" if ahead is None else ahead.take())

    def _ctrl_c(self) -> bool:
        """Ctrl-C at the prompt; True to leave."""
        now = time.monotonic()
        self.screen.note("\n")
        if now - self._hinted < HINT_SECONDS:
            return True
        if typed():
            return False  # it only dropped the line
        self._hinted = now
        self.note(f"Ctrl-C again within {HINT_SECONDS:g} s leaves, and so does Ctrl-D")
        return False

    def _leave(self) -> int:
        if self.asks:
            self.screen.note("\n")
            self._goodbye()
            return 0
        turn = self.chat.turn
        if turn is not None and turn.awaiting:
            return EXIT_UNDECIDED
        return EXIT_FAILED if self._failed else 0

    def _goodbye(self) -> None:
        if self.asks and self.chat.turn is not None:
            name = one_line(shlex.quote(self.chat.name))
            self.note(f"kept; this goes on with it: turnlatch chat {name}")

    # Turns.

    def send(self, text: str) -> None:
        """Say something and show the turn."""

        async def operation() -> Turn:
            return await self.chat.stream(text).turn()

        self.turn(operation)

    def turn(self, operation: Callable[[], Awaitable[Turn]]) -> None:
        """Run a turn, show it while it runs, and say how it ended."""
        self._interrupted = False
        try:
            with self.screen.busy():
                turn = self.runner.run(self._follow(operation))
        except TurnlatchError as error:
            self._failed = True
            self.refuse(error)
            return
        finally:
            self._stand()
        self._failed = turn.state is TurnState.FAILED
        if turn.done and turn.text:
            # A program that reads answers sees no prompt that says it.
            self.screen.answer(f"SIM: {turn.text}" if self.unasked else turn.text)
        if self._failed and not self.asks:  # the transcript is for people
            self.note(f"{ending(turn)}; next: {next_step(turn)}", "red")
        if turn.awaiting and not self.asks:
            for call in turn.awaiting:
                self.note(f"{one_line(call.name)} {one_line(call.id)} awaits approval")
        self._unheard()

    def _unheard(self) -> None:
        """Show the steered messages that the turn did not deliver."""
        turn, waiting = self.chat.turn, len(self.chat.snapshot.said)
        if turn is not None and turn.awaiting:
            return  # it goes along with the answer to the question
        if waiting:
            what = f"{counted(waiting, 'message')} said meanwhile and not heard yet"
            it = "it" if waiting == 1 else "them"
            self.note(f"{what}: your next one takes {it} along, and so does /retry")

    def call(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a method of the conversation other than a turn."""
        try:
            return self.runner.run(work())
        finally:
            self._stand()

    async def _follow(self, operation: Callable[[], Awaitable[Turn]]) -> Turn:
        watch = self.chat.watch()
        ended, pressed = anyio.Event(), anyio.Event()
        result: Turn | TurnlatchError | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._listen, watch, ended)
            group.start_soon(self._tick)
            group.start_soon(self._interrupt, pressed)
            group.start_soon(self._type)
            with self._signals(pressed):
                try:
                    result = await operation()
                    await ended.wait()
                except TurnlatchError as error:
                    result = error  # raised outside of the group, which would wrap it
            group.cancel_scope.cancel()
        if isinstance(result, TurnlatchError):
            raise result
        assert result is not None, "an operation ends in a turn or in an error"
        return result

    @contextlib.contextmanager
    def _signals(self, pressed: anyio.Event) -> Generator[None, None, None]:
        """While a turn runs, Ctrl-C and SIGTERM stop it; SIGTERM then leaves."""
        loop = asyncio.get_running_loop()
        before = signal.getsignal(signal.SIGTERM)

        def terminated() -> None:
            self._terminated = True
            pressed.set()

        with contextlib.suppress(NotImplementedError):  # no such thing on Windows
            loop.add_signal_handler(signal.SIGINT, pressed.set)
            loop.add_signal_handler(signal.SIGTERM, terminated)
        try:
            yield
        finally:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(signal.SIGINT)
                loop.remove_signal_handler(signal.SIGTERM)
                signal.signal(signal.SIGTERM, before)

    async def _listen(self, watch: Watch, ended: anyio.Event) -> None:
        async for event in watch:
            at = time.time()
            self.footer.progress = self.footer.progress.after(event, at)
            self.screen.say(self._transcript.tell(event, at))
            if isinstance(event, Recorded):
                self._stand()
                for line in log_lines(event, time.strftime("%H:%M:%S")):
                    self.screen.log(line)
            elif isinstance(event, TurnEnded):
                self._stand()
                ended.set()
                return

    async def _tick(self) -> None:
        while True:
            self.screen.paint()
            await anyio.sleep(TICK_SECONDS)

    async def _type(self) -> None:
        """Take what is typed meanwhile, and say each line into the turn."""
        ahead = self.screen.ahead
        if ahead is None:
            return
        while data := await self.screen.pressed():
            for line in ahead.feed_piece(data):
                await self._steer(ahead, line)
            self.screen.paint()

    async def _steer(self, ahead: Ahead, line: str) -> None:
        try:
            heard = await self.chat.steer(line[1:] if line.startswith("//") else line)
        except TurnlatchError as error:
            ahead.text = line + ahead.text  # it is not lost
            self.refuse(error)
            return
        when = "the next request that can take it" if heard else "your next message"
        told = self._transcript.said(line, f"said; goes along with {when}")
        self.screen.say(told)

    async def _interrupt(self, pressed: anyio.Event) -> None:
        await pressed.wait()
        self._interrupted = True
        self._transcript.stopped = True
        # The turn may be about to begin; it is stopped as soon as it has.
        while not await self.chat.interrupt():  # noqa: ASYNC110 - it has no event
            await anyio.sleep(0.01)

    # Approvals.

    def _ask_approvals(self) -> None:
        """Ask about every call that waits for a person."""
        while call := self._undecided():
            if self._over(call):
                continue
            within = ""
            if call.expires is not None:
                left = countdown(call.expires - time.time())
                within = f"; answer within {left}"
            asked = f"{one_line(call.name)} {shown_arguments(call)}{within}"
            self.note(asked, "yellow")
            self.screen.forget_typed()  # before the question was seen
            try:
                said = self.screen.ask("  run it? [y/n] ")
            except (EOFError, KeyboardInterrupt):
                turn = self.chat.turn
                waiting = () if turn is None else turn.awaiting
                self._deferred.update(one.id for one in waiting)
                self.screen.note("\n")
                self.note(
                    f"it still waits: /approve {one_line(call.id)} or"
                    f" /deny {one_line(call.id)}"
                )
                return
            if "\n" in said:
                self.note("a paste does not answer the question; type y or n")
                continue
            answer = said.strip().lower()
            if answer in ("y", "yes") and not self._over(call):
                # The approval is for the call shown; a changed call is asked about again.
                self.turn(partial(self.chat.approve, call.id, digest=call.digest))
            elif answer in ("n", "no"):
                self.turn(partial(self.chat.deny, call.id))

    def _over(self, call: CallReport) -> bool:
        """Go on without a call whose question has expired, which denies it, and say so;
        True if it has."""
        if not expired(call.expires, time.time()):
            return False
        name = one_line(call.name)
        self.note(f"the time to answer is over: {name} is denied and did not run")
        self._deferred.add(call.id)
        self.turn(self.chat.retry)
        return True

    def _undecided(self) -> CallReport | None:
        """The next call to ask about; one that was put off is not asked about again."""
        turn = self.chat.turn
        waiting = () if turn is None else turn.awaiting
        return next((one for one in waiting if one.id not in self._deferred), None)

    # For commands.

    def note(self, text: str, ink: Ink = "dim", *, drawn: bool = False) -> None:
        """Print the chat's lines; `text` is already escaped."""
        self.screen.note(self._transcript.note(text, ink, drawn=drawn))

    def refuse(self, error: TurnlatchError) -> None:
        """Say an error on one line."""
        self.note(f"turnlatch: {one_line(in_chat(str(error)))}", "red")

    def welcome(self, version: str) -> None:
        """Say who answers, and where the conversation stands."""
        chat, turn = self.chat, self.chat.turn
        if self.live:
            self.note(f"turnlatch {version}  LIVE: {one_line(chat.endpoint)} answers")
        else:
            self.note(
                f"turnlatch {version}  SIM: the built-in simulator answers; what it says"
                " is made up",
                "yellow",
            )
        if self.live and chat.simulated:
            self.note("SIM: answers in this conversation were made up", "yellow")
        if turn is None:
            stands = "a new conversation"
        else:
            stands = counted(turn.number, "turn")
            stands += f", {counted(len(chat.history), 'confirmed exchange')}"
        self.note(f"{one_line(chat.name)}: {stands}, in {one_line(self.where)}")
        if turn is not None and turn.fault is not None:
            self.note(f"{ending(turn)}; next: {next_step(turn)}")
        self._unheard()
        self._unfinished()
        if self.asks:
            self.note("/help lists the commands. Ctrl-C stops a turn, Ctrl-D leaves.")
            if self.screen.ahead is not None:
                self.note("A line that you type while a turn runs is said into it.")

    def _unfinished(self) -> None:
        """Say that an earlier process did not bring the turn to an end."""
        turn = self.chat.turn
        if turn is None or self.chat.snapshot.resting:
            return
        lost = [
            one_line(call.name)
            for call in turn.calls
            if call.state is CallState.UNKNOWN or call.closing is Closing.UNKNOWN
        ]
        seen = f"the end of {', '.join(lost)} was not seen; " if lost else ""
        goes = f"turn {turn.number} is not done: /retry goes on with it"
        self.note(seen + goes, "yellow")

    def notices(self) -> None:
        """Say what the store says about itself."""
        for notice in self.told:
            self.note(f"store: {one_line(notice)}")

    def _stand(self) -> None:
        """Bring what the footer knows of the conversation up to date."""
        chat = self.chat
        usage, turn = chat.usage, chat.turn
        self._transcript.speaker = SPEAKER if self.real else f"SIM {SPEAKER}"
        self.footer.standing = Standing(
            live=self.real,
            model=chat.profile.model,
            name=chat.name,
            turns=0 if turn is None else turn.number,
            tokens_in=usage.input + usage.cache_read + usage.cache_write,
            tokens_out=usage.output,
        )
        self.screen.paint()

    def _replies(self, number: int) -> list[str]:
        return [one.reply.text for one in self.chat.history.of_turn(number)]
