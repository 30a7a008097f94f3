import { lookup } from 'node:dns/promises';
import type { FollowOptions } from '../../client/follow/follow.ts';
import { CAPTURE } from '../../event/layout.ts';
import { findStandingLab } from '../../lab/machine/state.ts';
import { badArgument } from '../../util/errors.ts';
import { askedWords } from '../options/asked-words.ts';
import { clusterOptions } from '../options/cluster-options.ts';
import { parseCount, parseDuration } from '../options/duration.ts';
import { interruption } from '../options/interruption.ts';
import { textStyle } from '../options/text-options.ts';
import { readVersion } from '../options/version.ts';

/** `ktrace follow`: the flags as the parser gives them; the exit code. */
export async function followCommand(words: string[], flags: Record<string, unknown>): Promise<number> {
  const text = (name: string): string | undefined => flags[name] as string | undefined;
  const count = text('count');
  const duration = text('for');
  const snaplen = text('snaplen');
  const options: FollowOptions = {
    asked: askedWords(words, flags),
    filterFile: text('filterFile'),
    ...clusterOptions(flags),
    output: flags['output'] as FollowOptions['output'],
    packets: flags['packets'] === true,
    snapBytes: snaplen === undefined ? undefined : parseSnapBytes(snaplen),
    count: count === undefined ? undefined : parseCount('-c', count),
    forMs: duration === undefined ? undefined : parseDuration('--for', duration),
    strict: flags['strict'] === true,
    drops: flags['drops'] === true,
    readyFile: text('readyFile'),
    local: flags['local'] === true,
    ...textStyle(flags),
  };
  // Its agent asks the API server with what the kubeconfig has.
  if (options.local === true && options.as !== undefined) throw badArgument('--as', 'no --local beside it', options.as);
  // Loaded when there is something to follow: what speaks to clusters takes a second.
  const { runFollow } = await import('../../client/follow/follow.ts');
  return runFollow(options, {
    stdout: process.stdout,
    stderr: process.stderr,
    interrupt: interruption(),
    env: process.env,
    findLab: () => findStandingLab(),
    lookUp: async (name) => (await lookup(name, { all: true })).map(({ address }) => address),
    command: [process.execPath, process.argv[1] ?? ''],
    version: readVersion(),
  });
}

function parseSnapBytes(text: string): number {
  const bytes = Number(text);
  if (/^\d{1,4}$/.test(text) && bytes >= 1 && bytes <= CAPTURE.most) return bytes;
  throw badArgument('--snaplen', `bytes from the IP header on, 1 to ${CAPTURE.most}`, text);
}
