import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { capability } from '../../support/capability.ts';
import type { Kernel } from './kernels.ts';

const run = promisify(execFile);

/** An unpacked kernel package; nothing of it is installed. */
export interface KernelImage {
  /** As `uname -r` will say. */
  release: string;
  /** The bootable image. */
  vmlinuz: string;
  /** The folder that holds RELEASE, with modules.dep. */
  modules: string;
}

/**
 * The newest image that apt knows of, downloaded and unpacked once: `$XDG_CACHE_HOME/ktrace-vm`, about 400 MB a kernel.
 * Rejects when apt has none to give.
 */
export async function kernelImage(kernel: Kernel, cache = defaultCache()): Promise<KernelImage> {
  const image = await imagePackage(kernel.package);
  const release = image.replace(/^linux-image-/, '');
  const root = join(cache, image);
  if (!existsSync(root)) await unpack(image, release, root, cache);
  const places = [`boot/vmlinuz-${release}`, `lib/modules/${release}/vmlinuz`, `usr/lib/modules/${release}/vmlinuz`].map((path) =>
    join(root, path),
  );
  const vmlinuz = places.find((path) => existsSync(path));
  if (vmlinuz === undefined) throw new Error(`${image} has none of ${places.join(', ')}`);
  const modules = ['lib/modules', 'usr/lib/modules'].map((path) => join(root, path)).find((path) => existsSync(path));
  if (modules === undefined) throw new Error(`${image} has no modules`);
  return { release, vmlinuz, modules };
}

/** The same for a test, which is skipped for this reason where apt has none; throws where `KTRACE_REQUIRE` wants a vm. */
export async function imageOrSkip(kernel: Kernel, skip: (reason: string) => void): Promise<KernelImage | undefined> {
  try {
    return await kernelImage(kernel);
  } catch (error) {
    skip(capability('vm', `needs ${kernel.package}, which apt does not give: ${String(error)}`) || '');
    return undefined;
  }
}

function defaultCache(): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'ktrace-vm');
}

/** `linux-image-amd64` depends on the image of the day. */
async function imagePackage(name: string): Promise<string> {
  const { stdout } = await run('apt-cache', ['depends', '--important', name]);
  return /Depends: (linux-image-\d\S+)/.exec(stdout)?.[1] ?? name;
}

/** Beside its place and renamed: an interrupted run leaves no half kernel behind. */
async function unpack(image: string, release: string, root: string, cache: string): Promise<void> {
  const unfinished = `${root}.${process.pid}`;
  mkdirSync(unfinished, { recursive: true });
  try {
    await run('apt-get', ['download', '-q', image], { cwd: unfinished });
    const deb = readdirSync(unfinished).find((file) => file.endsWith('.deb'));
    if (deb === undefined) throw new Error(`apt-get download ${image} left no package in ${cache}`);
    await run('dpkg-deb', ['-x', join(unfinished, deb), unfinished]);
    rmSync(join(unfinished, deb));
    await run('depmod', ['-b', unfinished, release]);
    renameSync(unfinished, root);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}
