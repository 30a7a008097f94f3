import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Every error and notice code that the sources use has a section in docs/errors.md, and every section a use. */
export async function checkErrors(root) {
  const files = globSync(['bin/ktrace', 'src/**/*.ts', 'native/src/**/*.{cc,h}'], { cwd: root });
  const used = new Map();
  const families = new Map();
  for (const file of files) {
    const text = readFileSync(join(root, file), 'utf8');
    for (const code of codesIn(text)) used.set(code, used.get(code) ?? file);
    for (const family of familiesIn(text)) families.set(family, file);
  }
  const page = readFileSync(join(root, 'docs/errors.md'), 'utf8');
  const sections = [...page.matchAll(/^### `?(KTRACE_[EN]_[A-Z0-9_]+)`?$/gm)].map(([, code]) => code);
  const isUsed = (code) => used.has(code) || [...families.keys()].some((family) => asPattern(family).test(code));

  const undocumented = [...used].filter(([code]) => !sections.includes(code));
  const emptyFamilies = [...families].filter(([family]) => !sections.some((code) => asPattern(family).test(code)));
  const twice = sections.filter((code, index) => sections.indexOf(code) !== index);
  const problems = [
    ...[...undocumented, ...emptyFamilies].map(([code, file]) => `${code} (${file}) has no section in docs/errors.md`),
    ...sections.filter((code) => !isUsed(code)).map((code) => `docs/errors.md tells of ${code}, which nothing in src/ uses`),
    ...twice.map((code) => `docs/errors.md has two sections for ${code}`),
  ];
  return { checked: Math.min(files.length, sections.length), problems };
}

/** Codes written out whole; a template's beginning and the ellipsis of prose are none. */
function codesIn(text) {
  return [...text.matchAll(/KTRACE_[EN]_[A-Z0-9]+(?:_[A-Z0-9]+)*(?![A-Z0-9_$]|…)/g)].map(([code]) => code);
}

/** Codes that are put together, with what is put in written as `*`: `KTRACE_E_*_UNKNOWN`. */
function familiesIn(text) {
  return [...text.matchAll(/(KTRACE_[EN]_)\$\{[^}]*\}((?:_[A-Z0-9]+)+)/g)].map(([, start, end]) => `${start}*${end}`);
}

function asPattern(family) {
  return new RegExp(`^${family.replace('*', '[A-Z0-9]+')}$`);
}
