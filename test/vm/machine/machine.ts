import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { keepOnFailure } from '../../support/evidence.ts';
import { writeInitramfs } from './initramfs.ts';
import type { KernelImage } from './kernel-image.ts';

const END = /^ktrace-vm: ended with (\d+)$/;

export interface MachineOptions {
  /** Shell command, run as root in the machine's own file system, which it sees as it is and can change for itself only. */
  command: string;
  onLine(line: string): void;
  /** The machine is killed when it is not done by then. */
  limitMs: number;
  /** Where a disk is served as NBD; the machine has it as /dev/vda. */
  diskSocket?: string;
}

/**
 * Boots a kernel under emulation over this machine's own root, runs a command there, and powers off. Gives the command's exit code.
 * Rejects with the end of the console when the machine hangs, panics, or ends without having run the command.
 */
export async function runInMachine(image: KernelImage, options: MachineOptions): Promise<number> {
  const code = await runOnce(image, options);
  if (typeof code === 'number') return code;
  throw new Error(code);
}

/** Likewise, until the signal: then the machine is gone within a moment, whatever it does. Rejects when it ended before. */
export async function cutPowerOf(image: KernelImage, power: AbortSignal, options: MachineOptions): Promise<void> {
  const outcome = await runOnce(image, options, power);
  if (!power.aborted) throw new Error(`It ended before its power was cut: ${outcome}`);
}

async function runOnce(image: KernelImage, options: MachineOptions, power?: AbortSignal): Promise<number | string> {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-vm-'));
  try {
    const initramfs = join(folder, 'initramfs');
    const console = join(folder, 'console');
    writeInitramfs(initramfs, image, options.command);
    const said: string[] = [];
    const onLine = (line: string): void => {
      said.push(line);
      options.onLine(line);
    };
    let messages: string | undefined;
    // Before it boots: a test whose time is over does not wait for its machine.
    keepOnFailure(`vm-${image.release}`, (own) => {
      writeFileSync(join(own, 'said.txt'), `${said.join('\n')}\n`);
      writeFileSync(join(own, 'console.txt'), messages ?? contentOf(console) ?? '');
    });
    const outcome = await boot(qemuArguments(image, initramfs, console, options.diskSocket), { ...options, onLine }, power);
    messages = contentOf(console);
    if (typeof outcome === 'number') return outcome;
    return `${image.release}: ${outcome}. The end of its console:\n${lastLines(messages)}`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The command's exit code, or what became of the machine instead. */
function boot(args: string[], { onLine, limitMs }: MachineOptions, power?: AbortSignal): Promise<number | string> {
  return new Promise((resolve, reject) => {
    // Whatever ends us ends the machine.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'qemu-system-x86_64', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const kill = () => child.kill('SIGKILL');
    process.once('exit', kill);
    power?.addEventListener('abort', kill, { once: true });
    let ended: number | undefined;
    let said = '';
    let last = 'nothing';
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      kill();
    }, limitMs);
    child.stderr.on('data', (chunk) => {
      said += chunk;
    });
    createInterface({ input: child.stdout }).on('line', (raw) => {
      const line = raw.trimEnd();
      const code = END.exec(line)?.[1];
      if (code !== undefined) ended = Number(code);
      else {
        last = line;
        onLine(line);
      }
    });
    child.on('error', reject);
    child.on('close', () => {
      clearTimeout(timer);
      process.off('exit', kill);
      if (isLate) resolve(`killed because it was not done after ${limitMs / 1000} s; the last it said was: ${last}`);
      else resolve(ended ?? `ended without having run the command to its end; the last it said was: ${last}\n${said}`);
    });
  });
}

/** Two serial lines: the kernel's console goes to a file, what the command says to our stdout. A panic ends the machine. */
function qemuArguments(image: KernelImage, initramfs: string, console: string, diskSocket: string | undefined): string[] {
  const disk =
    diskSocket === undefined ? [] : ['-drive', `file=nbd+unix:///?socket=${diskSocket},format=raw,if=virtio,cache=writeback`];
  return [
    ...[
      '-accel',
      'tcg,thread=multi,tb-size=512',
      '-cpu',
      'max,la57=off',
      '-smp',
      '2',
      '-m',
      '2048',
      '-nodefaults',
      '-no-user-config',
      '-no-reboot',
    ],
    ...['-display', 'none', '-kernel', image.vmlinuz, '-initrd', initramfs],
    ...['-append', 'console=ttyS0 panic=-1 loglevel=7 mitigations=off'],
    ...['-serial', `file:${console}`, '-serial', 'stdio'],
    ...['-fsdev', 'local,id=r,path=/,security_model=none,readonly=on,multidevs=remap'],
    ...['-device', 'virtio-9p-pci,fsdev=r,mount_tag=root'],
    ...disk,
  ];
}

function contentOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

function lastLines(text: string | undefined): string {
  return text?.trimEnd().split('\n').slice(-25).join('\n') ?? '(there is none: the machine did not start)';
}
