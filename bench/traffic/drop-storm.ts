import { setTimeout as delay } from 'node:timers/promises';
import type { Lab } from '../../src/lab/lab.ts';
import { TARGET, untilListening } from '../load.ts';
import { end, inNamespace, startQuiet } from '../processes.ts';
import { measureSideBySide, type SideBySide } from '../side-by-side.ts';
import { ratios, type Spread, spread } from '../stats.ts';

/** Datagrams to a socket that is full, so that the kernel drops each: per second, and of what goes without a tracer. */
export interface DropStorm {
  name: string;
  title: string;
  dropsPerSecond: Spread;
  ratio: Spread;
}

/** Not that of the load's own server, which listens in the same pod. */
const PORT = 5301;
/** Longer than iperf3 takes to agree on a test. */
const BEGIN_MS = 500;

/** A pod that sends to itself, and reads nothing of it: the server is stopped while the client sends, so that its socket stays full. */
export async function measureDropStorm(lab: Lab, options: SideBySide & { seconds: number }): Promise<DropStorm[]> {
  const place = `pod/${TARGET}`;
  const { ip } = lab.pod(TARGET);
  const ends = [ip, '--port', String(PORT)];
  const server = startQuiet(inNamespace(lab.namespace(place), ['iperf3', '--server', '--bind', ...ends]));
  try {
    await untilListening(lab, place, [PORT]);
    const rounds = await measureSideBySide(lab, options, async () => {
      const time = String(options.seconds + 1);
      const flood = ['--udp', '--length', '64', '--bitrate', '0', '--time', time];
      const sending = lab.exec(place, ['iperf3', '--client', ...ends, ...flood]);
      sending.catch(() => undefined);
      try {
        await delay(BEGIN_MS);
        server.kill('SIGSTOP');
        if (server.exitCode !== null) throw new Error(`iperf3 ended with ${server.exitCode}: nothing stands still`);
        const [before, beganMs] = [await drops(lab, place), performance.now()];
        await delay(options.seconds * 1000 - BEGIN_MS);
        const [after, endedMs] = [await drops(lab, place), performance.now()];
        return ((after - before) * 1000) / (endedMs - beganMs);
      } finally {
        server.kill('SIGCONT');
        await sending;
      }
    });
    return options.cases.flatMap(({ name, title }, at) => {
      const measured = Array.from(rounds[at] ?? []);
      const ratio = ratios(measured, Array.from(rounds[0] ?? []));
      if (ratio.length === 0) return [];
      return [{ name, title, dropsPerSecond: spread(measured.filter((rate) => rate !== undefined)), ratio: spread(ratio) }];
    });
  } finally {
    server.kill('SIGCONT');
    await end(server);
  }
}

/** Datagrams that a full socket had no room for, so far. */
async function drops(lab: Lab, place: string): Promise<number> {
  const [names, values] = (await lab.exec(place, ['cat', '/proc/net/snmp']))
    .split('\n')
    .filter((line) => line.startsWith('Udp: '))
    .map((line) => line.split(' '));
  const count = Number(values?.[names?.indexOf('RcvbufErrors') ?? -1]);
  if (Number.isNaN(count)) throw new Error('Expected RcvbufErrors of Udp in /proc/net/snmp, got none');
  return count;
}
