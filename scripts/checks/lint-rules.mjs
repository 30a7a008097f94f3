/** Proves that the rules of Biome which this project leans on are on: for each a file that breaks it is linted with the project's own configuration. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { biome } from './biome.mjs';

/** Files that each break one rule. */
const RULES = [
  {
    rule: 'lint/suspicious/noImportCycles',
    path: 'test/cycle-a.ts',
    text: "import { b } from './cycle-b.ts';\nexport const a = () => b();\n",
  },
  {
    rule: 'lint/suspicious/noImportCycles',
    path: 'test/cycle-b.ts',
    text: "import { a } from './cycle-a.ts';\nexport const b = () => a();\n",
  },
  { rule: 'lint/style/noDefaultExport', path: 'src/event/default.ts', text: 'export default 1;\n' },
  {
    rule: 'lint/nursery/noFloatingPromises',
    path: 'test/floating.ts',
    text: 'async function f(): Promise<void> {}\nexport function g(): void {\n  f();\n}\n',
  },
  { rule: 'lint/suspicious/noDebugger', path: 'scripts/recommended.mjs', text: 'debugger;\n' },
];

/** @returns {Promise<{ checked: number, problems: string[] }>} */
export async function checkLintRules(root) {
  const probe = mkdtempSync(join(tmpdir(), 'ktrace-lint-rules-'));
  try {
    const config = JSON.parse(readFileSync(join(root, 'biome.json'), 'utf8'));
    // The probe is no git checkout; all else is as it is.
    writeFileSync(join(probe, 'biome.json'), JSON.stringify({ ...config, $schema: undefined, vcs: undefined }));
    for (const { path, text } of RULES) {
      mkdirSync(join(probe, dirname(path)), { recursive: true });
      writeFileSync(join(probe, path), text);
    }
    const { diagnostics } = await biome(root, ['lint', `--config-path=${probe}`, '--max-diagnostics=none', probe]);
    const fires = ({ rule, path }) => diagnostics.some((one) => one.rule === rule && one.path.endsWith(path));
    const silent = RULES.filter((rule) => !fires(rule));
    return {
      checked: RULES.length,
      problems: silent.map(({ rule, path }) => `${rule} does not fire on ${path}, written to be wrong`),
    };
  } finally {
    rmSync(probe, { recursive: true });
  }
}
