import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KernelImage } from './machine/kernel-image.ts';
import { runInMachine } from './machine/machine.ts';
import { writePlainScript } from './machine/plain-script.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SCRIPT = fileURLToPath(new URL('inside/cost.sh', import.meta.url));

/** What the kernel counted of one program while one kind of traffic passed, in one round. */
export interface Cost {
  backend: string;
  /** As inside/cost.sh names it. */
  traffic: string;
  program: string;
  runs: number;
  ns: number;
}

/** What the kernel side counted meanwhile, by its counters' names. */
export interface Counted {
  backend: string;
  traffic: string;
  stats: Record<string, number>;
}

interface Figures {
  figures: { stats: Record<string, number>; runs: { program: string; runs: number; ns: number }[] };
}

/** Runs inside/cost.sh on that kernel, with both backends of the kernel's functions. Throws with what it said when it did not come to its end. */
export async function measureInMachine(
  image: KernelImage,
  { rounds, pings }: { rounds: number; pings: number },
): Promise<{ costs: Cost[]; counted: Counted[] }> {
  const folder = join(ROOT, `build/vm-cost.${process.pid}`);
  try {
    const addon = join(ROOT, 'native/build/Release/ktrace_native.node');
    const script = writePlainScript(ROOT, 'test/vm/inside/node.ts', folder);
    const trace = `env KTRACE_ADDON=${addon} ${process.execPath} ${script}`;
    const words = [SCRIPT, 'vm', trace, join(ROOT, 'build/bpf/ktrace.bpf.o'), String(rounds), String(pings), 'fentry', 'kprobe'];
    const lines: string[] = [];
    const command = words.map((word) => `'${word}'`).join(' ');
    const code = await runInMachine(image, { command, onLine: (line) => lines.push(line), limitMs: 280_000 });
    if (code !== 0) throw new Error(`cost.sh ended with ${code}:\n${lines.join('\n')}`);
    return read(lines);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function read(lines: readonly string[]): { costs: Cost[]; counted: Counted[] } {
  const costs: Cost[] = [];
  const counted: Counted[] = [];
  for (const line of lines) {
    const [word, backend = '', traffic = '', before = '', after = ''] = line.split(' ');
    if (word !== 'cost') continue;
    const { figures: was } = JSON.parse(before) as Figures;
    const { figures: is } = JSON.parse(after) as Figures;
    const stats = Object.entries(is.stats).map(([name, count]) => [name, count - (was.stats[name] ?? 0)]);
    counted.push({ backend, traffic, stats: Object.fromEntries(stats) });
    is.runs.forEach(({ program, runs, ns }, at) => {
      const { runs: runsBefore = 0, ns: nsBefore = 0 } = was.runs[at] ?? {};
      costs.push({ backend, traffic, program, runs: runs - runsBefore, ns: ns - nsBefore });
    });
  }
  return { costs, counted };
}
