import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const MANIFESTS = 'deploy/base/kustomization.yaml';
/** Each must name the version or the image at least once: where one names it no more, this list is to be changed. */
const NAMING = [
  MANIFESTS,
  'Dockerfile',
  'README.md',
  'docs/install.md',
  'scripts/cluster/product.mjs',
  'test/cluster/support/product.ts',
];
/** Where it may be named besides. */
const ALSO = ['docs/*.md', 'src/cli/*.ts', 'deploy/**/*.yaml', 'scripts/**/*.mjs', 'test/cluster/**/*.ts'];
const VERSION = '\\d+\\.\\d+\\.\\d+[-.+\\w]*';
/** How a version of ktrace is written: in an image, a manifest, the Dockerfile, a packed file, what `doctor` says. */
const FORMS = [
  `[-.\\w]+\\/ktrace:(${VERSION})`,
  `newTag: "?(${VERSION})`,
  `ARG VERSION=(${VERSION})`,
  `ktrace-(${VERSION})\\.(?:tgz|tar\\.gz)`,
  `, ktrace (${VERSION})`,
];

/** Every place that names a version of ktrace names package.json's, and an image of this machine is the one of the manifests. */
export async function checkVersion(root) {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const files = [...new Set([...NAMING, ...globSync(ALSO, { cwd: root })])];
  const places = files.flatMap((file) => placesIn(file, readFileSync(join(root, file), 'utf8')));
  const local = /newName: (\S+)/.exec(readFileSync(join(root, MANIFESTS), 'utf8'))?.[1];
  const problems = [
    ...NAMING.filter((file) => !places.some((place) => place.file === file)).map(
      (file) => `${file} names no version of ktrace any more`,
    ),
    ...places
      .filter((place) => place.version !== version)
      .map(({ file, line, text }) => `Expected version ${version} of package.json at ${file}:${line}, got ${text}`),
    ...places
      .filter(({ text }) => text.startsWith('localhost/') && text !== `${local}:${version}`)
      .map(({ file, line, text }) => `Expected the image of ${MANIFESTS}, ${local}:${version}, at ${file}:${line}, got ${text}`),
  ];
  return { checked: places.length, problems };
}

function placesIn(file, content) {
  return content.split('\n').flatMap((written, index) =>
    FORMS.flatMap((form) =>
      [...written.matchAll(new RegExp(form, 'g'))].map(([text, version]) => ({
        file,
        line: index + 1,
        text,
        version: version.replace(/\.$/, ''),
      })),
    ),
  );
}
