/** `node scripts/check.mjs [CHECK …]`: the checks alone, without set-up and tests. `npm run check` runs them all. */
import { fileURLToPath } from 'node:url';
import { CHECKS } from './checks/checks.mjs';
import { runChecks } from './checks/run-checks.mjs';

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !Object.hasOwn(CHECKS, name));
if (unknown.length > 0) {
  process.stderr.write(`Expected ${Object.keys(CHECKS).join(', ')} as a check, got ${unknown.join(', ')}\n`);
  process.exit(2);
}
const { failed } = await runChecks(
  fileURLToPath(new URL('..', import.meta.url)),
  wanted.length > 0 ? wanted : Object.keys(CHECKS),
);
process.exitCode = failed > 0 ? 1 : 0;
