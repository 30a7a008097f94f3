import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Lab } from '../../src/lab/lab.ts';

const END_MS = 5_000;

/** A program in the namespace of a node or pod that goes on until it is told to end. */
export interface Program {
  /** All it has said on stdout. */
  said(): string;
  /** Ends it with the signal upon which it says what it did, and gives all it has said. */
  end(): Promise<string>;
}

/** @throws Error, by `end`, with what it said on stderr when it had ended by itself */
export function startProgram(lab: Lab, target: string, argv: readonly string[], signal: 'SIGINT' | 'SIGTERM'): Program {
  const args = [`--net=/run/netns/${lab.namespace(target)}`, ...argv];
  // A group of its own: Ctrl-C is for the run, which ends it.
  const child = spawn('nsenter', args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const ended = once(child, 'close');
  const pieces: string[] = [];
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => pieces.push(text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-2000);
  });
  const said = () => pieces.join('');
  return {
    said,
    async end() {
      const hasEnded = child.exitCode !== null || child.signalCode !== null;
      child.kill(signal);
      const timer = setTimeout(() => child.kill('SIGKILL'), END_MS);
      await ended;
      clearTimeout(timer);
      if (hasEnded) throw new Error(`${argv[0]} in ${target} ended before its time: ${errors.trim()}`);
      return said();
    },
  };
}
