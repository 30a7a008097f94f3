/**
 * `node.ts OBJECT NODE FOLLOWED-IP …` in a node's network namespace: one node's kernel side and pipeline as an agent runs it, without Kubernetes. Says
 * on stdout as JSON lines: `{"load":…}` what was loaded, `{"ready":…}` once it is attached, every event, and on SIGTERM, when all that the kernel
 * told has been told on, `{"counts":…}`. On SIGUSR2 it says `{"figures":…}`: the kernel side's counters, and each program's runs so far. KTRACE_STATS=1 asks
 * the kernel to take their time, and attaches a program that does nothing beside them; KTRACE_PROBES is the backend of the kernel's functions.
 */
import { statSync, writeSync } from 'node:fs';
import { Interfaces } from '../../../src/agent/kernel/interfaces.ts';
import { KernelSymbols } from '../../../src/agent/kernel/probes/kernel-symbols.ts';
import type { ProbesOptions } from '../../../src/agent/kernel/probes/probes.ts';
import { Tracer } from '../../../src/agent/kernel/tracer.ts';
import { Pipeline } from '../../../src/agent/pipeline/pipeline.ts';
import { loadNative } from '../../../src/native/load.ts';
import type { BpfObject } from '../../../src/native/types.ts';
import { createLog } from '../../../src/util/log.ts';
import { misnamed } from '../../agent/kernel/probes/kallsyms.ts';
import { resolvedTo } from '../../support/resolved.ts';

const SERVICE = '10.96.0.10';
const OTHER_SERVICE = '10.96.0.11';
const NODE_PORT = { ip: '172.18.0.1', port: 30_080 };
const POLL_MS = 100;

const [objectPath = '', name = '', ...followed] = process.argv.slice(2);
const native = loadNative();
const log = createLog('agent', 'warn');
const tracer = new Tracer({
  native,
  objectPath,
  netns: statSync('/proc/self/ns/net').ino,
  ringBytes: 1 << 20,
  podRate: Number(process.env['KTRACE_POD_RATE'] ?? 2000),
  attach: 'auto',
  probes: (process.env['KTRACE_PROBES'] ?? 'auto') as ProbesOptions['backend'],
});
const symbols = new KernelSymbols((address) => tracer.symbolText(address));
/** The kernel's own count of runs and time, where it is asked for. */
const statistics = process.env['KTRACE_STATS'] === '1' ? native.enableStats() : undefined;
const empty = statistics === undefined ? undefined : attachEmpty();
say({
  load: {
    programs: programs().map(({ object, program }) => ({ program, instructions: object.programInfo(program).instructions })),
    backend: tracer.tcBackend,
    notices: tracer.notices,
    dropReasons: tracer.dropReasons.size,
    symbols: misnamed(symbols),
  },
});

const interfaces = new Interfaces({ native, tracer, log });
const pipeline = new Pipeline({
  node: name,
  native,
  tracer,
  interfaces,
  symbols,
  log,
  naming: {
    resolve: () =>
      resolvedTo({
        addresses: followed,
        serviceAddresses: [
          { ip: SERVICE, port: 80, proto: 'tcp' },
          { ip: SERVICE, port: 53, proto: 'udp' },
          { ip: OTHER_SERVICE, port: 80, proto: 'tcp' },
          { ...NODE_PORT, proto: 'tcp' },
        ],
      }),
    namePacket() {},
    nameFlow() {},
    placeOf: () => 'unknown',
    podOf: () => undefined,
    notReady: () => undefined,
  },
});
interfaces.onOwnAddressesChange = () => pipeline.resolveAgain({ kind: 'list' });
pipeline.follow({ targets: [], addresses: followed, units: 'flows' }, { event: say, resolved: () => {} }, 'all');
say({ ready: { hooks: pipeline.hooks(), attached: tracer.attachedInterfaces, failures: interfaces.failures } });

let hooks = JSON.stringify(pipeline.hooks());
const watch = setInterval(() => {
  const now = JSON.stringify(pipeline.hooks());
  if (now !== hooks) say({ hooks: pipeline.hooks() });
  hooks = now;
}, POLL_MS);

process.once('SIGTERM', () => {
  let told = -1;
  const poll = setInterval(() => {
    const { counts } = pipeline.assembler;
    const stats = tracer.stats();
    const isTold = counts.sightings + pipeline.malformed === stats.emitted && counts.begun === counts.told + counts.discarded;
    // Twice the same: what was told once may still be amended.
    const before = told;
    told = isTold ? counts.told + counts.amended : -1;
    if (!isTold || told !== before) return;
    clearInterval(poll);
    clearInterval(watch);
    say({ runs: runs() });
    statistics?.close();
    empty?.object.close();
    say({ counts: { stats, assembler: counts, malformed: pipeline.malformed, recursionMisses: tracer.recursionMisses() } });
    pipeline.close();
    interfaces.close();
    tracer.close();
  }, POLL_MS);
});

process.on('SIGUSR2', () => say({ figures: { stats: tracer.stats(), runs: runs() } }));

function runs(): { program: string; runs: number; ns: number }[] {
  return [...programs(), ...(empty === undefined ? [] : [empty])].map(({ object, program }) => {
    const { runCount, runNs } = object.programInfo(program);
    return { program, runs: Number(runCount), ns: Number(runNs) };
  });
}

/** Where ICMP is received, by the backend that the probes have there: nothing costs less than it. */
function attachEmpty(): { object: BpfObject; program: string } {
  const hook = tracer.probes.hooks().find(({ name: of }) => of === 'icmp-receive');
  const program = `${hook?.backend}_empty`;
  const object = native.openObject(objectPath, {
    only: [program],
    targets: hook?.backend === 'fentry' ? { [program]: 'icmp_rcv' } : {},
    shareMapsOf: tracer.object,
  });
  if (hook?.backend === 'fentry') object.attachTracing(program);
  else object.attachKprobe(program, 'icmp_rcv');
  return { object, program };
}

function programs(): { object: BpfObject; program: string }[] {
  return [...tracer.object.programs().map((program) => ({ object: tracer.object, program })), ...tracer.probes.programs()];
}

function say(what: unknown): void {
  writeSync(1, `${JSON.stringify(what)}\n`);
}
