/**
 * `npm run krew -- --url URL [--homepage URL] [--out FOLDER]`: the client as an archive for krew, kubectl's plugin manager, and the manifest that names it.
 * URL is where the archive will be published. Writes ktrace-VERSION.tar.gz and ktrace.yaml into FOLDER (build/krew) and prints both paths. The archive
 * is the packed client (`npm pack`) with the packages of the lock file, and is the same for the same sources.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { dump } from 'js-yaml';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Where Node runs without a compiler; krew links a program, which Windows would not start by its first line. */
const SYSTEMS = ['darwin', 'linux'];

const { url, homepage, out } = options();
const { version, description } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
mkdirSync(out, { recursive: true });
const archive = join(out, `ktrace-${version}.tar.gz`);
writeArchive(archive);
const manifest = join(out, 'ktrace.yaml');
writeFileSync(manifest, dump(pluginOf(createHash('sha256').update(readFileSync(archive)).digest('hex')), { lineWidth: 100 }));
process.stdout.write(`${archive}\n${manifest}\n`);

function options() {
  const text = { type: 'string' };
  const { values } = parseArgs({ options: { url: text, homepage: text, out: { ...text, default: join(ROOT, 'build/krew') } } });
  for (const name of values.homepage === undefined ? ['url'] : ['url', 'homepage']) {
    if (URL.canParse(values[name]) && new URL(values[name]).protocol === 'https:') continue;
    process.stderr.write(`Expected an https:// address for --${name}, got ${values[name] ?? 'none'}\n`);
    process.exit(2);
  }
  return { ...values, out: resolve(values.out) };
}

function writeArchive(file) {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-krew-'));
  try {
    const run = (program, args, cwd) =>
      execFileSync(program, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
    // As set-up has compiled it.
    const packed = run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder], ROOT)
      .trim()
      .split('\n')
      .at(-1);
    run('tar', ['-xzf', packed], folder);
    const client = join(folder, 'package');
    copyFileSync(join(ROOT, 'package-lock.json'), join(client, 'package-lock.json'));
    // Without links to the packages' programs: krew refuses an archive that has links.
    const modules = ['--omit=dev', '--omit=optional', '--no-bin-links', '--ignore-scripts'];
    // What set-up has fetched is good: the lock file has its sum.
    run('npm', ['ci', '--loglevel=error', '--prefer-offline', '--no-audit', '--no-fund', ...modules], client);
    // npm writes down how it installed, with times.
    rmSync(join(client, 'node_modules', '.package-lock.json'), { force: true });
    const same = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--mode=u+rw,go+r-w,a+X'];
    run('tar', [...same, '--use-compress-program=gzip -n9', '-cf', file, '-C', client, '.'], folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** As https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/ has it. */
function pluginOf(sha256) {
  return {
    apiVersion: 'krew.googlecontainertools.github.com/v1alpha2',
    kind: 'Plugin',
    metadata: { name: 'ktrace' },
    spec: {
      version: `v${version}`,
      ...(homepage === undefined ? {} : { homepage }),
      shortDescription: 'Trace packets of pods: hops, NAT, drops',
      description: `${description}.\nIt needs agents on the cluster's nodes: kubectl ktrace install.\n`,
      caveats: 'Needs Node 22.19 or later on the path.\nAgents come to a cluster by: kubectl ktrace install --image IMAGE\n',
      platforms: [
        {
          selector: { matchExpressions: [{ key: 'os', operator: 'In', values: SYSTEMS }] },
          uri: url,
          sha256,
          files: [{ from: '*', to: '.' }],
          bin: 'bin/kubectl-ktrace',
        },
      ],
    },
  };
}
