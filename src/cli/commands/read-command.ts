import { lookup } from 'node:dns/promises';
import { runRead } from '../../client/read/read.ts';
import type { ReadOptions } from '../../client/read/read-options.ts';
import { badArgument } from '../../util/errors.ts';
import { parseCount } from '../options/duration.ts';
import { interruption } from '../options/interruption.ts';
import { textStyle } from '../options/text-options.ts';

/** `ktrace read`: the flags as the parser gives them; the exit code. */
export async function readCommand(path: string, words: string[], flags: Record<string, unknown>): Promise<number> {
  if (flags['services'] === true) return listServices(path, words, flags['output'] as ReadOptions['output']);
  const count = flags['count'] as string | undefined;
  const options = {
    path,
    words,
    output: flags['output'] as ReadOptions['output'],
    count: count === undefined ? undefined : parseCount('-c', count),
    ...textStyle(flags),
  };
  return runRead(options, {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    interrupt: interruption(),
    env: process.env,
    lookUp: async (name) => (await lookup(name, { all: true })).map(({ address }) => address),
  });
}

async function listServices(path: string, words: readonly string[], output: ReadOptions['output']): Promise<number> {
  if (words.length > 0) throw badArgument('--services', 'no filter beside it', words.join(' '));
  if (output === 'pcapng' || output === 'html') throw badArgument('-o', 'text or json with --services', output);
  const { readServices } = await import('../../client/dump/services.ts');
  return readServices(path, output === 'json' ? output : 'text', process);
}
