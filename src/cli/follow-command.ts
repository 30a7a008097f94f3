import type { FollowOptions } from '../client/follow.ts';
import { readTargets } from '../client/words.ts';
import { findStandingLab } from '../lab/state.ts';
import { parseCount, parseDuration } from './duration.ts';
import { interruption } from './interruption.ts';

/** `ktrace follow`: the flags as the parser gives them; the exit code. */
export async function followCommand(words: string[], flags: Record<string, unknown>): Promise<number> {
  const text = (name: string): string | undefined => flags[name] as string | undefined;
  const count = text('count');
  const duration = text('for');
  const options: FollowOptions = {
    words,
    selectors: (flags['selector'] as string[] | undefined) ?? [],
    namespaces: (flags['namespace'] as string[] | undefined) ?? [],
    allNamespaces: flags['allNamespaces'] === true,
    kubeconfig: text('kubeconfig'),
    context: text('context'),
    ktraceNamespace: text('ktraceNamespace') ?? 'ktrace',
    output: flags['output'] as 'text' | 'wide' | 'json',
    packets: flags['packets'] === true,
    count: count === undefined ? undefined : parseCount('-c', count),
    forMs: duration === undefined ? undefined : parseDuration('--for', duration),
    strict: flags['strict'] === true,
    color: flags['color'] as boolean | undefined,
  };
  // Mistakes in the words are told at once: what speaks to clusters takes a second to load.
  readTargets(options, 'default');
  const { runFollow } = await import('../client/follow.ts');
  return runFollow(options, {
    stdout: process.stdout,
    stderr: process.stderr,
    interrupt: interruption(),
    env: process.env,
    findLab: () => findStandingLab(),
  });
}
