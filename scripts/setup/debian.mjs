import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { command, SetupError, step } from './step.mjs';

/** What building, running and testing need beyond Node, by purpose. */
const PACKAGES = {
  'BPF objects and the addon': [
    'clang',
    'llvm',
    'make',
    'g++',
    'pkg-config',
    'python3',
    'libbpf-dev',
    'libelf-dev',
    'zlib1g-dev',
  ],
  'looking into the kernel': ['bpftool', 'iproute2', 'ethtool', 'kmod', 'procps', 'util-linux'],
  'the lab: its network and what runs in its pods': [
    'iptables',
    'nftables',
    'conntrack',
    'iputils-ping',
    'redis-server',
    'redis-tools',
    'openssl',
  ],
  'other kernels: their boot under emulation': ['qemu-system-x86', 'busybox-static', 'cpio', 'ipvsadm'],
  'real clusters of the tests: Calico enforces policies with it': ['ipset'],
  'checks and benchmarks': ['clang-format', 'clang-tidy', 'tcpdump', 'tshark', 'iperf3'],
  "a client of somebody else's": ['python3-websockets'],
};

/** What the tests alone take, and do without. */
const BROWSER = ['chromium'];

const POLICY = '/usr/sbin/policy-rc.d';
const POLICY_TEXT =
  '#!/bin/sh\n# Made by the set-up of ktrace for as long as it installs packages: no service may start.\nexit 101\n';

/** Installs the Debian packages that are missing. Without the means to do that: a SetupError with the line a person must run. */
export async function installDebianPackages() {
  const wanted = Object.values(PACKAGES).flat();
  const missing = await missingOf(wanted);
  if (missing.length === 0) return;

  const line = `apt-get update && apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  if (!hasApt())
    throw new SetupError(
      `ktrace is built on Debian 12. Install what these packages bring, then run this again: ${missing.join(' ')}`,
    );
  if (process.getuid() !== 0) throw new SetupError(`As root, run: ${line}`);

  await step(`installing ${missing.length} Debian packages`, () => withoutServices(() => install(missing)));
  const still = await missingOf(missing);
  if (still.length > 0) throw new SetupError(`apt-get did not install ${still.join(', ')}. As root, run: ${line}`);
}

/** Installs the browser that tests look at pages with, where that can be done; where it cannot, those tests skip themselves. */
export async function installBrowser() {
  if (!hasApt() || process.getuid() !== 0) return;
  const missing = await missingOf(BROWSER);
  if (missing.length > 0) await step('installing a browser for the tests', () => withoutServices(() => install(missing)));
}

/** One question to dpkg for all. It ends with 1 when it does not know a package, which is an answer as well. */
function missingOf(packages) {
  return new Promise((resolve) => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own placeholders
    execFile('dpkg-query', ['-W', '-f=${db:Status-Status} ${Package}\n', ...packages], (_error, stdout) => {
      const installed = new Set(
        stdout
          .split('\n')
          .filter((row) => row.startsWith('installed '))
          .map((row) => row.slice(10)),
      );
      resolve(packages.filter((name) => !installed.has(name)));
    });
  });
}

async function install(packages) {
  const env = { DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' };
  const get = (...args) => command('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=300', ...args], { env });
  await get('update');
  await get('install', '-y', '--no-install-recommends', ...packages);
  // Where systemd runs, the package would start its server at the next boot: only the lab's pods need one.
  if (packages.includes('redis-server') && existsSync('/run/systemd/system'))
    await command('systemctl', ['disable', 'redis-server']);
}

/** Debian's packages start their services when installed, unless this policy forbids it. A machine's own policy is left alone. */
async function withoutServices(work) {
  const own = existsSync(POLICY) && readFileSync(POLICY, 'utf8') !== POLICY_TEXT;
  if (own) return work();
  const remove = () => rmSync(POLICY, { force: true });
  const interrupted = () => {
    remove();
    process.exit(130);
  };
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  writeFileSync(POLICY, POLICY_TEXT, { mode: 0o755 });
  try {
    return await work();
  } finally {
    remove();
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
  }
}

function hasApt() {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, 'apt-get'), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
