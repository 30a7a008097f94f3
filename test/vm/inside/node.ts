/**
 * `node.ts OBJECT NODE FOLLOWED-IP …` in a node's network namespace: one node's kernel side and pipeline as an agent runs it, without Kubernetes. Says
 * on stdout as JSON lines: `{"load":…}` what was loaded, `{"ready":…}` once it is attached, every event, and on SIGTERM, when all that the kernel
 * told has been told on, `{"counts":…}`.
 */
import { statSync, writeSync } from 'node:fs';
import { Interfaces } from '../../../src/agent/interfaces.ts';
import { Pipeline } from '../../../src/agent/pipeline.ts';
import { readSymbols } from '../../../src/agent/symbols.ts';
import { Tracer } from '../../../src/agent/tracer.ts';
import { loadNative } from '../../../src/native/load.ts';
import { createLog } from '../../../src/util/log.ts';

const SERVICE = '10.96.0.10';
const POLL_MS = 100;

const [objectPath = '', name = '', ...followed] = process.argv.slice(2);
const native = loadNative();
const log = createLog('agent', 'warn');
const symbols = readSymbols();
const tracer = new Tracer({
  native,
  objectPath,
  netns: statSync('/proc/self/ns/net').ino,
  ringBytes: 1 << 20,
  attach: 'auto',
});
say({
  load: {
    programs: tracer.object
      .programs()
      .map((program) => ({ program, instructions: tracer.object.programInfo(program).instructions })),
    backend: tracer.tcBackend,
    notices: tracer.notices,
    dropReasons: tracer.dropReasons.size,
    hasSymbols: symbols.areKnown,
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
    resolve: () => ({
      pods: [],
      addresses: followed,
      serviceAddresses: [
        { ip: SERVICE, port: 80, proto: 'tcp' },
        { ip: SERVICE, port: 53, proto: 'udp' },
      ],
    }),
    namePacket() {},
    nameFlow() {},
    podOf: () => undefined,
    notReady: () => undefined,
  },
});
pipeline.follow({ targets: [], addresses: followed, units: 'flows' }, { event: say, resolved: () => {} });
say({ ready: { hooks: pipeline.hooks(), attached: tracer.attachedInterfaces, failures: interfaces.failures } });

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
    say({ counts: { stats, assembler: counts, malformed: pipeline.malformed, recursionMisses: tracer.recursionMisses() } });
    pipeline.close();
    interfaces.close();
    tracer.close();
  }, POLL_MS);
});

function say(what: unknown): void {
  writeSync(1, `${JSON.stringify(what)}\n`);
}
