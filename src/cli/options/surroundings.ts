import { lookup } from 'node:dns/promises';
import { interruption } from './interruption.ts';

/** What a command on a cluster has around it. */
export async function surroundings() {
  const { findStandingLab } = await import('../../lab/machine/state.ts');
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    interrupt: interruption(),
    findLab: () => findStandingLab(),
    lookUp,
  };
}

/** Addresses of a host that a filter names. */
export async function lookUp(name: string): Promise<string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address);
}
