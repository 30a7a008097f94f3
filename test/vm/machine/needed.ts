import { spawnSync } from 'node:child_process';
import { capability, needsRoot } from '../../support/capability.ts';

/** A command that must be there, and the package that brings it. */
export interface Needed {
  command: string;
  package: string;
}

export const NEEDED_HERE: readonly Needed[] = [{ command: 'busybox', package: 'busybox-static' }];
export const NEEDED_TO_BOOT: readonly Needed[] = [
  { command: 'qemu-system-x86_64', package: 'qemu-system-x86' },
  { command: 'cpio', package: 'cpio' },
  { command: 'depmod', package: 'kmod' },
];

/** For the skip of a test in a machine: why it cannot run here. */
export function needs(needed: readonly Needed[]): string | false {
  return needsRoot('all files for the guest') || capability('vm', missing(needed));
}

/** What must be installed first, in a sentence; false: nothing. */
export function missing(needed: readonly Needed[]): string | false {
  const lacking = needed.filter(({ command }) => spawnSync(command, ['--help'], { stdio: 'ignore' }).error !== undefined);
  return lacking.length > 0 && `needs ${lacking.map((needs) => needs.package).join(', ')}: apt-get install it`;
}

/** Why something that would take emulation too long for every run is not run: nobody asked for it. */
export const NOT_ASKED_FOR: string | false =
  process.env['KTRACE_TEST_VM_ALL'] === undefined && 'takes minutes of emulation: set KTRACE_TEST_VM_ALL=1';
