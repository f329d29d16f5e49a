// Writes the closed lists of the API document as constants: nothing in the page types them again.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

/** Writes generated/words.ts. */
export function writeWords() {
  const { schemas } = JSON.parse(
    readFileSync(join(here, "../docs/openapi.json"), "utf8"),
  ).components;
  const scope = schemas.VerificationVerification.properties.scope;
  const lists = {
    ACTIONS: schemas.PeopleEvaluation.properties.action.enum,
    SCOPES: scope.anyOf.find((one) => one.enum).enum,
    TYPES: schemas.SignalsNewSignal.properties.signal_type.enum,
  };
  const lines = Object.entries(lists).map(
    ([name, words]) => `export const ${name} = ${JSON.stringify(words)} as const;\n`,
  );
  mkdirSync(join(here, "generated"), { recursive: true });
  writeFileSync(join(here, "generated/words.ts"), lines.join(""));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeWords();
}
