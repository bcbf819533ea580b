// The TypeScript SDK: messages, its stream, its tool runner, and its own retries.
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { z } from "zod";

const client = new Anthropic();
const ask = {
  model: "claude-sonnet-5-5",
  max_tokens: 500,
  messages: [{ role: "user", content: "What is the answer?" }],
};
const cell = process.argv[2];
if (cell === "stream") {
  const stream = client.messages.stream(ask);
  let said = "";
  stream.on("text", (piece) => (said += piece));
  await stream.finalMessage();
  console.log(said);
} else if (cell === "tool") {
  const add = betaZodTool({
    name: "add",
    description: "Add two numbers.",
    inputSchema: z.object({ a: z.number(), b: z.number() }),
    run: ({ a, b }) => String(a + b),
  });
  const last = await client.beta.messages.toolRunner({
    ...ask,
    messages: [{ role: "user", content: "Add 3 and 4." }],
    tools: [add],
  });
  console.log(last.content.at(-1).text);
} else {
  console.log((await client.messages.create(ask)).content.at(-1).text);
}
