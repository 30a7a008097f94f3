import { spawnSync } from 'node:child_process';
import { capability } from '../../support/capability.ts';

export const NO_TCPDUMP = capability(
  'tcpdump',
  spawnSync('tcpdump', ['--version']).status !== 0 && 'needs tcpdump to compare with',
);

/** Numbers of the packets that tcpdump takes of a file made by `writeFrames`; a text when it refuses the filter. `-O`: without its optimizer. */
export function tcpdumpChoice(path: string, filter: string, flags: string[]): number[] | string {
  const { status, stdout, stderr } = spawnSync('tcpdump', [...flags, '-r', path, '-w', '-', '--', filter], {
    maxBuffer: 2 ** 27,
  });
  if (status !== 0) return stderr.toString();
  const chosen: number[] = [];
  for (let at = 24; at + 16 <= stdout.length; at += 16 + stdout.readUInt32LE(at + 8)) chosen.push(stdout.readUInt32LE(at));
  return chosen;
}
