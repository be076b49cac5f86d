// Handlers for AWS's runtime for Node.js: one for each thing that a runtime has to do.
import { access, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

export const echo = async (event, context) => {
  console.log(`got ${context.awsRequestId}`);
  return { event, name: context.functionName, left: context.getRemainingTimeInMillis() > 0 };
};

export const fail = async () => {
  throw new TypeError("no such order");
};

export const stream = awslambda.streamifyResponse(async (event, body) => {
  body.write("be");
  await sleep(1);
  body.write("gin");
  body.end();
});

const exists = (file) => access(file).then(() => true, () => false);

// Ends when another event is served at the same time.
export const meet = async ({ own, other, directory }) => {
  await writeFile(`${directory}/${own}`, "");
  while (!(await exists(`${directory}/${other}`))) await sleep(5);
  return own;
};
