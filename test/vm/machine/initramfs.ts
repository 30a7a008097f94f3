import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { KernelImage } from './kernel-image.ts';

/** What it takes to mount the machine's own root in the guest: the share, and something writable laid over it. */
const BOOT_MODULES = ['virtio_pci', '9pnet_virtio', '9p', 'overlay'];
const BUSYBOX = '/bin/busybox';

/** Writes an initramfs to `file` that mounts the share `root` read-only, lays a tmpfs over it, and runs `command` there. */
export function writeInitramfs(file: string, image: KernelImage, command: string): void {
  const folder = `${file}.d`;
  const listed = (name: string): string => readFileSync(join(image.modules, image.release, name), 'utf8');
  const modules = inLoadOrder(listed('modules.dep'), BOOT_MODULES, listed('modules.builtin'));
  for (const name of ['bin', 'modules', 'proc', 'sys', 'dev', 'lower', 'upper', 'new'])
    mkdirSync(join(folder, name), { recursive: true });
  try {
    copyFileSync(BUSYBOX, join(folder, 'bin/busybox'));
    for (const path of modules) writeModule(join(image.modules, image.release, path), join(folder, 'modules', fileOf(path)));
    writeFileSync(join(folder, 'init'), init(modules.map(fileOf), image), { mode: 0o755 });
    writeFileSync(join(folder, 'run'), inside(command), { mode: 0o755 });
    execFileSync('sh', ['-c', 'find . | cpio --quiet -o -H newc > "$0"', file], { cwd: folder });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What busybox loads is not compressed. */
function fileOf(path: string): string {
  return basename(path).replace(/\.xz$/, '');
}

function writeModule(from: string, to: string): void {
  if (from.endsWith('.xz')) writeFileSync(to, execFileSync('xz', ['-dc', from], { maxBuffer: 64 << 20 }));
  else copyFileSync(from, to);
}

/**
 * Paths of these modules and of all they need, each after what it needs; not of those that are part of the kernel itself. `dep` and `builtin` are the
 * texts of modules.dep and modules.builtin.
 */
export function inLoadOrder(dep: string, names: readonly string[], builtin: string): string[] {
  const needs = new Map<string, string[]>();
  for (const line of dep.split('\n')) {
    const [path, rest] = line.split(':');
    if (path !== undefined && rest !== undefined) needs.set(path, rest.trim().split(/\s+/).filter(Boolean));
  }
  const ordered = new Set<string>();
  const add = (path: string) => {
    // modules.dep lists all that a module needs, the last to be loaded first.
    for (const needed of [...(needs.get(path) ?? [])].reverse()) ordered.add(needed);
    ordered.add(path);
  };
  const among = (paths: Iterable<string>, name: string) => [...paths].find((path) => basename(path).split('.')[0] === name);
  for (const name of names) {
    if (among(builtin.split('\n'), name) !== undefined) continue;
    const path = among(needs.keys(), name);
    if (path === undefined) throw new Error(`The kernel package has no module ${name}`);
    add(path);
  }
  return [...ordered];
}

/** The first process. Whatever fails ends the machine: nobody sits at its console. */
function init(modules: readonly string[], image: KernelImage): string {
  return `#!/bin/busybox sh
set -eu
busybox() { /bin/busybox "$@"; }
trap 'busybox poweroff -f' EXIT
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
${modules.map((name) => `busybox insmod /modules/${name}`).join('\n')}
busybox mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=1048576,cache=loose root /lower
busybox mount -t tmpfs tmpfs /upper
busybox mkdir /upper/upper /upper/work
busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work overlay /new
busybox mkdir -p /new/lib/modules /new/proc /new/sys /new/dev
busybox mount -o bind,ro '/lower${image.modules}' /new/lib/modules
busybox mount -t proc proc /new/proc
busybox mount -t sysfs sys /new/sys
busybox mount -t devtmpfs dev /new/dev
busybox mount -t tmpfs tmpfs /new/run
busybox cp /run /bin/busybox /new/run/
trap - EXIT
exec /bin/busybox switch_root /new /run/run
`;
}

/** What runs in the machine's own root: the command, with the second serial line as its output, then the end of the machine. */
function inside(command: string): string {
  return `#!/run/busybox sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
ip link set lo up
/run/busybox stty -F /dev/ttyS1 raw -echo
( ${command} ) < /dev/null > /dev/ttyS1 2>&1
echo "ktrace-vm: ended with $?" > /dev/ttyS1
/run/busybox sync
/run/busybox poweroff -f
`;
}
