import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Every error and notice code that the sources use has a section in docs/errors.md, and every section a use. */
export async function checkErrors(root) {
  const files = globSync(['src/**/*.ts', 'native/src/*.{cc,h}'], { cwd: root });
  const used = new Map();
  for (const file of files) {
    for (const [code] of codesIn(readFileSync(join(root, file), 'utf8'))) used.set(code, used.get(code) ?? file);
  }
  const page = readFileSync(join(root, 'docs/errors.md'), 'utf8');
  const sections = [...page.matchAll(/^### `?(KTRACE_[EN]_[A-Z0-9_]+)`?$/gm)].map(([, code]) => code);
  const problems = [
    ...[...used]
      .filter(([code]) => !sections.includes(code))
      .map(([code, file]) => `${code} (${file}) has no section in docs/errors.md`),
    ...sections.filter((code) => !used.has(code)).map((code) => `docs/errors.md tells of ${code}, which nothing in src/ uses`),
    ...sections
      .filter((code, index) => sections.indexOf(code) !== index)
      .map((code) => `docs/errors.md has two sections for ${code}`),
  ];
  return { checked: Math.min(files.length, sections.length), problems };
}

/** Codes written out whole; a template's beginning (`KTRACE_E_${…}`) and the ellipsis of prose are none. */
function codesIn(text) {
  return text.matchAll(/KTRACE_[EN]_[A-Z0-9]+(?:_[A-Z0-9]+)*(?![A-Z0-9_$]|…)/g);
}
