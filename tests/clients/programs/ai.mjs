// The AI SDK with its Anthropic provider; a temperature, since it sends 2023-06-01.
import { createAnthropic } from "@ai-sdk/anthropic";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const anthropic = createAnthropic({ baseURL: process.env.ANTHROPIC_BASE_URL + "/v1" });
const model = anthropic("claude-sonnet-4-6");
const ask = { model, temperature: 0.2, prompt: "What is the answer?" };
const cell = process.argv[2];
if (cell === "stream") {
  let said = "";
  for await (const piece of streamText(ask).textStream) said += piece;
  console.log(said);
} else if (cell === "tool") {
  const add = tool({
    description: "Add two numbers.",
    inputSchema: z.object({ a: z.number(), b: z.number() }),
    execute: async ({ a, b }) => String(a + b),
  });
  const done = await generateText({
    ...ask,
    prompt: "Add 3 and 4.",
    tools: { add },
    stopWhen: stepCountIs(3),
  });
  console.log(done.text);
} else {
  console.log((await generateText(ask)).text);
}
