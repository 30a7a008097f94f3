import { spawnSync } from 'node:child_process';

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

/** What must be installed first, in a sentence; false: nothing. */
export function missing(needed: readonly Needed[]): string | false {
  const lacking = needed.filter(({ command }) => spawnSync(command, ['--help'], { stdio: 'ignore' }).error !== undefined);
  return lacking.length > 0 && `needs ${lacking.map((needs) => needs.package).join(', ')}: apt-get install it`;
}
