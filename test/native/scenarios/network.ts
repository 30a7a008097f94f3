import { createSocket } from 'node:dgram';
import { until } from '../../support/until.ts';
import { objectPath, run } from '../support.ts';

/** Interfaces and packets of a scenario, all in its own namespace. */

/** A veth pair, up; gives both interface indexes. */
export function makeVeth(name: string, peer: string): [number, number] {
  run('ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', peer);
  run('ip', 'link', 'set', name, 'up');
  run('ip', 'link', 'set', peer, 'up');
  run('ip', 'address', 'add', 'fd00::1/64', 'dev', name, 'nodad');
  return [indexOf(name), indexOf(peer)];
}

export const indexOf = (name: string): number => Number(JSON.parse(run('ip', '-j', 'link', 'show', 'dev', name))[0].ifindex);

/** Sends packets out of `name` until `condition` holds. */
export async function sendUntil(name: string, what: string, condition: () => boolean): Promise<void> {
  const socket = createSocket('udp6');
  await new Promise<void>((resolve) => socket.bind(0, resolve));
  try {
    await until(what, async () => {
      await new Promise((resolve) => socket.send('x', 9, `ff02::1%${name}`, resolve));
      return condition();
    });
  } finally {
    socket.close();
  }
}

/** Whether the kernel still has this program. */
export function programExists(id: number): boolean {
  const programs = JSON.parse(run('bpftool', '-j', 'prog', 'show')) as { id: number }[];
  return programs.some((program) => program.id === id);
}

export const qdiscs = (name: string): string => run('tc', 'qdisc', 'show', 'dev', name);

/** Somebody else's filter, attached by tc. */
export function addFilter(name: string, direction: 'ingress' | 'egress', priority: number, protocol: 'all' | 'ip'): void {
  const place = ['dev', name, direction, 'protocol', protocol, 'prio', String(priority)];
  run('tc', 'filter', 'add', ...place, 'bpf', 'direct-action', 'object-file', objectPath('other'), 'section', 'tc');
}

export const filters = (name: string, direction: string): string => run('tc', 'filter', 'show', 'dev', name, direction);

/** How often programs of this name ran while statistics were on. */
export function foreignRuns(program: string): number {
  const programs = JSON.parse(run('bpftool', '-j', 'prog', 'show')) as { name?: string; run_cnt?: number }[];
  return programs.filter(({ name }) => name === program).reduce((sum, { run_cnt = 0 }) => sum + run_cnt, 0);
}
