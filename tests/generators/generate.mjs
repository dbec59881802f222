// Runs the generators on the published schemas: node generate.mjs SCHEMAS OUT
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import modelina from "@asyncapi/modelina";
import { compileFromFile } from "json-schema-to-typescript";

const [schemas, out] = process.argv.slice(2);
const asyncapi = JSON.parse(await readFile(join(schemas, "asyncapi.json"), "utf8"));

const typescript = { exportType: "named", moduleSystem: "ESM" };
const generators = [
  ["interfaces", "ts", new modelina.TypeScriptGenerator({ modelType: "interface", rawPropertyNames: true }), typescript],
  ["classes", "ts", new modelina.TypeScriptGenerator(), typescript],
  ["java", "java", new modelina.JavaGenerator(), { packageName: "lockstore" }],
  ["go", "go", new modelina.GoGenerator(), { packageName: "lockstore" }],
];
for (const [folder, ending, generator, options] of generators) {
  const place = folder === "java" ? join(out, folder, "lockstore") : join(out, folder);
  await mkdir(place, { recursive: true });
  for (const model of await generator.generateCompleteModels(asyncapi, options)) {
    if (model.modelName === "") continue; // a union that Java has no type for
    await writeFile(join(place, `${model.modelName}.${ending}`), model.result);
  }
}
await writeFile(join(out, "messages.ts"), await compileFromFile(join(schemas, "messages.schema.json")));
