// Prints the errors that Ajv, in its strict mode, has for each message of a list: node validate.mjs SCHEMA MESSAGES
import { readFile } from "node:fs/promises";
import { Ajv2020 } from "ajv/dist/2020.js";

const [schema, messages] = await Promise.all(process.argv.slice(2).map(async (file) => JSON.parse(await readFile(file, "utf8"))));
const validate = new Ajv2020({ discriminator: true, allErrors: true, strict: true }).compile(schema);
const errors = messages.map((message) => (validate(message) ? [] : validate.errors));
console.log(JSON.stringify(errors.map((found) => found.map(({ instancePath, message }) => `${instancePath} ${message}`.trim()))));
