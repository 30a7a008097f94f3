import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Interfaces } from '../../../src/agent/kernel/interfaces.ts';
import { KtraceError } from '../../../src/util/errors.ts';
import { EVERYTHING, NAT_IN_MODULE, openProbes, without } from '../kernel/probes/probes-fixture.ts';
import { COUNT_MS, followAll, openPipeline } from './pipeline-fixture.ts';

test('a follow whose start fails is refused with the kernel’s words, leaves nothing attached, and the next one is told', (t) => {
  let failures = 1;
  let isActive = false;
  let counts = 0;
  const opened = openPipeline(t, {
    tracer: {
      flowTable: Object.assign(() => undefined, {
        take: () => undefined,
        changed: () => {
          counts += 1;
          return [];
        },
      }),
    },
    interfaces: {
      setActive(active: boolean) {
        isActive = active;
        if (active && failures-- > 0) throw new Error('attach: Cannot allocate memory');
      },
    },
  });
  assert.throws(() => followAll(opened.pipeline), { code: 'KTRACE_E_TRACING', message: /Cannot allocate memory/ });
  assert.deepEqual([isActive, opened.rings, opened.pipeline.followers], [false, 0, 0]);
  const { follower } = followAll(opened.pipeline);
  assert.deepEqual([isActive, opened.rings, opened.pipeline.followers], [true, 1, 1]);
  t.mock.timers.tick(COUNT_MS);
  assert.equal(counts, 1, 'its flows are counted');
  follower.close();
  assert.deepEqual([isActive, opened.rings], [false, 0]);
});

test('a follow that cannot be brought to the kernel takes nothing from those who follow already', (t) => {
  let isRefused = false;
  const opened = openPipeline(t, {
    tracer: {
      setSnapBytes: () => {
        if (isRefused) throw new Error('no');
      },
    },
  });
  followAll(opened.pipeline);
  isRefused = true;
  assert.throws(() => followAll(opened.pipeline), { code: 'KTRACE_E_TRACING' });
  assert.deepEqual([opened.rings, opened.pipeline.followers], [1, 1]);
});

test('what the kernel does not let be told is told when it is known, once, and not to those who come when it can be', (t) => {
  const noDrops = { code: 'KTRACE_N_NO_DROPS', text: 'drops cannot be told: EBUSY' };
  const notices: (typeof noDrops)[] = [];
  const { pipeline } = openPipeline(t, {
    tracer: { notices: notices as never },
    interfaces: { setActive: (isActive: boolean) => isActive && notices.splice(0, 1, noDrops) },
  });
  const first = followAll(pipeline);
  assert.deepEqual(first.codes(), ['KTRACE_N_NO_DROPS']);
  first.follower.update({ targets: [{ kind: 'all' }], addresses: [], units: 'flows' }, 'all');
  assert.deepEqual(first.codes(), ['KTRACE_N_NO_DROPS']);
  assert.deepEqual(followAll(pipeline).codes(), ['KTRACE_N_NO_DROPS']);
  notices.length = 0;
  followAll(pipeline).follower.close();
  assert.deepEqual(followAll(pipeline).codes(), []);
});

test('functions that the kernel has under another name are told to who follows, and who follows later, until they are found', (t) => {
  const { probes, kernel } = openProbes(t, { functions: without(/^nf_nat_manip_pkt$/) });
  const { pipeline } = openPipeline(t, { tracer: { probes: probes as never, hooks: () => [] } });
  const first = followAll(pipeline);
  assert.deepEqual(
    first.notices.map(({ code, level }) => [code, level]),
    [['KTRACE_N_NO_PROBES', 'info']],
  );
  assert.match(first.notices[0]?.text ?? '', /^nat is not seen/);
  assert.deepEqual(followAll(pipeline).codes(), ['KTRACE_N_NO_PROBES']);
  kernel.lists(without(/^nf_nat/), ['overlay 1 0 - Live 0x0']);
  t.mock.timers.tick(COUNT_MS);
  assert.deepEqual(followAll(pipeline).codes(), []);
  kernel.lists(EVERYTHING, ['nf_nat 57344 1 xt_nat, Live 0x0']);
  t.mock.timers.tick(COUNT_MS);
  assert.equal(probes.hooks().find(({ name }) => name === 'nat')?.state, 'idle');
  assert.deepEqual([followAll(pipeline).codes(), first.codes()], [[], ['KTRACE_N_NO_PROBES']]);
});

/** A pipeline on a kernel where NAT's module has come while nobody followed; `state`: of the probe of it. */
function withLateModule(t: TestContext) {
  const { probes, kernel } = openProbes(t, { functions: without(/^nf_nat/) });
  const { pipeline } = openPipeline(t, {
    tracer: { probes: probes as never, hooks: () => probes.hooks() },
    interfaces: { list: () => [], setActive: (isActive: boolean) => probes.setActive(isActive) },
  });
  const state = (hooks = pipeline.hooks()) => hooks.find(({ name }) => name === 'nat')?.state;
  kernel.lists(NAT_IN_MODULE, ['nf_nat 57344 1 xt_nat, Live 0x0']);
  assert.equal(state(), 'unavailable');
  return { pipeline, state };
}

test('a module that came while nobody followed is taken up when doctor asks', (t) => {
  const { pipeline, state } = withLateModule(t);
  assert.equal(state(pipeline.report().hooks), 'idle');
});

test('a module that came while nobody followed is taken up before the first packet of a follow', (t) => {
  const { pipeline, state } = withLateModule(t);
  assert.deepEqual([followAll(pipeline).codes(), state()], [[], 'on']);
});

test('who follows, and who follows later, reads what is not attached, what changes of it, and that it is over', (t) => {
  let lacking: ReturnType<Interfaces['lacking']> = { text: 'cni0: ENOMEM', isEverything: true, failed: [] };
  let retries = 0;
  const { pipeline } = openPipeline(t, { interfaces: { lacking: () => lacking, retryFailed: () => ++retries } });
  const first = followAll(pipeline);
  const second = followAll(pipeline);
  const told = ({ notices }: typeof first) => notices.map(({ level, text }) => `${level} ${text}`);
  const everything = 'error no packet is seen at any interface of this node: cni0: ENOMEM; trying again';
  assert.deepEqual([told(first), told(second)], [[everything], [everything]]);
  t.mock.timers.tick(COUNT_MS);
  assert.deepEqual([told(first), retries], [[everything], 1]);
  lacking = { text: 'cni0: ENOMEM', isEverything: false, failed: [] };
  t.mock.timers.tick(COUNT_MS);
  lacking = undefined;
  t.mock.timers.tick(COUNT_MS);
  assert.deepEqual(told(first).slice(1), [
    'warn not all interfaces of this node are seen: cni0: ENOMEM; trying again',
    'info all interfaces of this node are attached now',
  ]);
  assert.deepEqual(followAll(pipeline).codes(), []);
});

test('conntrack that comes while somebody follows, or before a follow, is taken up: the programs are exchanged, and what was set is set again', (t) => {
  const noConntrack = { code: 'KTRACE_N_NO_CONNTRACK', text: 'translations cannot be told' };
  const calls: string[] = [];
  const notices: (typeof noConntrack)[] = [noConntrack];
  let isOutdated = false;
  let failures = 0;
  const tracer = {
    notices: notices as never,
    hooks: () => [],
    isOutdated: () => isOutdated,
    reload(stop: () => void) {
      calls.push('load');
      isOutdated = false;
      stop();
      notices.length = 0;
      calls.push('exchange');
    },
    setSnapBytes: (bytes: number) => calls.push(`snap ${bytes}`),
  };
  const targets = { set: () => calls.push('targets') };
  const setActive = (isActive: boolean): void => {
    calls.push(`active ${isActive}`);
    if (isActive && failures-- > 0) throw new Error('ENOMEM');
  };
  const opened = openPipeline(t, { tracer, targets, interfaces: { setActive } });
  const first = followAll(opened.pipeline);
  t.mock.timers.tick(COUNT_MS);
  assert.deepEqual(first.codes(), ['KTRACE_N_NO_CONNTRACK']);
  calls.length = 0;
  isOutdated = true;
  failures = 1;
  t.mock.timers.tick(COUNT_MS);
  assert.deepEqual(calls.slice(0, 4), ['load', 'active false', 'targets', 'snap 0']);
  assert.equal(opened.rings, 0, 'it could not be started again');
  assert.ok(!first.notices.some(({ level }) => level === 'info'), 'nothing is told from now on yet');
  calls.length = 0;
  t.mock.timers.tick(COUNT_MS);
  assert.deepEqual([calls, opened.rings], [['snap 0', 'active true', 'targets'], 1]);
  assert.deepEqual(
    first.notices.map(({ code, level }) => `${level} ${code}`),
    ['warn KTRACE_N_NO_CONNTRACK', 'error KTRACE_N_AGENT_FAULT', 'info KTRACE_N_NO_CONNTRACK'],
  );
  t.mock.timers.tick(COUNT_MS);
  const second = followAll(opened.pipeline);
  assert.deepEqual(second.codes(), []);
  for (const { follower } of [first, second]) follower.close();
  isOutdated = true;
  calls.length = 0;
  assert.deepEqual(followAll(opened.pipeline).codes(), []);
  assert.deepEqual(calls, ['load', 'exchange', 'snap 0', 'active true', 'targets']);
});

test('the ring’s reader may rest, and what is drained when the last follower leaves is not looked at later', (t) => {
  let restsIn: string | undefined;
  const { pipeline } = openPipeline(t, {
    native: {
      readRing(_object: unknown, _map: unknown, options: { restsIn?: string }, onRecords: (records: Buffer) => void) {
        restsIn = options.restsIn;
        return { drain: () => onRecords(Buffer.alloc(0)), pace: () => undefined, close: () => undefined };
      },
    },
  });
  // Packets that were emitted are held for a while.
  Object.defineProperty(pipeline.assembler, 'held', { get: () => 1 });
  const looks = t.mock.method(pipeline.assembler, 'tick');
  followAll(pipeline).follower.close();
  assert.equal(restsIn, 'reader_rests');
  t.mock.timers.tick(1000);
  assert.equal(looks.mock.callCount(), 0);
});

test('the ring is read less often while nobody waits for what is read, and what is open is looked at with it', (t) => {
  const paces: number[] = [];
  let read = (_: Buffer): void => undefined;
  const { pipeline } = openPipeline(t, {
    native: {
      readRing(_object: unknown, _map: unknown, options: { intervalMs: number }, onRecords: (records: Buffer) => void) {
        read = onRecords;
        paces.push(options.intervalMs);
        return { drain: () => undefined, pace: (ms: number) => void paces.push(ms), close: () => undefined };
      },
    },
  });
  const looks = t.mock.method(pipeline.assembler, 'tick');
  const recorder = { isPatient: true, event: () => undefined, resolved: () => undefined };
  pipeline.follow({ targets: [{ kind: 'all' }], addresses: [], units: 'flows' }, recorder, 'all');
  const patientMs = paces.at(-1) ?? 0;
  read(Buffer.alloc(0));
  assert.equal(looks.mock.callCount(), 1, 'looked at when something was read');
  const { follower } = followAll(pipeline);
  const [usualMs = 0] = paces.slice(-1);
  assert.ok(usualMs * 4 < patientMs, `every ${usualMs} ms, and every ${patientMs} ms`);
  read(Buffer.alloc(0));
  assert.equal(looks.mock.callCount(), 2);
  follower.close();
  assert.equal(paces.at(-1), patientMs);
});

test('with what was read it is known up to when the ring has been read: of a full batch, of nothing', (t) => {
  let read = (_: Buffer): void => undefined;
  const { pipeline } = openPipeline(t, {
    native: {
      readRing(_object: unknown, _map: unknown, _options: unknown, onRecords: (records: Buffer) => void) {
        read = onRecords;
        return { drain: () => undefined, pace: () => undefined, close: () => undefined };
      },
    },
  });
  const looks = t.mock.method(pipeline.assembler, 'tick');
  followAll(pipeline);
  const readTo = (batch: Buffer): bigint => {
    read(batch);
    return (looks.mock.calls.at(-1)?.arguments[1] ?? -1n) as bigint;
  };
  const before = process.hrtime.bigint();
  const readToNs = readTo(Buffer.alloc(0));
  assert.ok(readToNs > before - 3_000_000n && readToNs < process.hrtime.bigint() - 1_000_000n, 'a moment before it was read');
  assert.equal(readTo(Buffer.alloc(200_000)), 0n);
});

test('who is told late is told what has come before it leaves', (t) => {
  const calls: string[] = [];
  const { pipeline } = openPipeline(t, {
    native: {
      readRing: () => ({ drain: () => void calls.push('drain'), pace: () => undefined, close: () => undefined }),
    },
  });
  t.mock.method(pipeline.assembler, 'flush', () => void calls.push(`flush for ${pipeline.followers}`));
  const recorder = { isPatient: true, event: () => undefined, resolved: () => undefined };
  pipeline.follow({ targets: [{ kind: 'all' }], addresses: [], units: 'flows' }, recorder, 'all').close();
  // Then what else is in the ring is of nobody.
  assert.deepEqual(calls, ['drain', 'flush for 1', 'drain', 'flush for 0']);
});

/** A pipeline over programs that are loaded, or not; `calls`: what was done with them, and when somebody was attached. */
function withPrograms(t: TestContext, unloadAfterMs?: number) {
  const calls: string[] = [];
  const outdated: boolean[] = [];
  const refused = new Set<string>();
  const call = (name: string): void => {
    calls.push(name);
    if (refused.has(name)) throw new KtraceError('KTRACE_E_LOAD', `The BPF programs could not be loaded: ${name}`, { hint: 'h' });
  };
  let isLoaded = true;
  const tracer = {
    get isLoaded() {
      return isLoaded;
    },
    hooks: () => [],
    isOutdated: () => outdated.pop() === true,
    reload(stop: () => void) {
      stop();
      isLoaded = false;
      call('reload');
    },
    load() {
      if (isLoaded) return false;
      call('load');
      isLoaded = true;
      return true;
    },
    unload() {
      call('unload');
      isLoaded = false;
    },
  };
  const { pipeline } = openPipeline(t, {
    tracer,
    native: { btf: { available: () => true }, trimMemory: () => calls.push('trim') },
    interfaces: {
      list: () => [{ name: 'veth1', kind: 'pod', attached: true }],
      setActive: (on: boolean) => calls.push(`active ${on}`),
    },
    ...(unloadAfterMs === undefined ? {} : { unloadAfterMs }),
  });
  return { pipeline, outdated, refused, done: () => calls.splice(0) };
}

const TEN_MINUTES_MS = 600_000;

test('programs that nobody has followed by for ten minutes are unloaded, and loaded before the next follow attaches them', (t) => {
  const { pipeline, done } = withPrograms(t);
  t.mock.timers.tick(TEN_MINUTES_MS - 1);
  assert.deepEqual(done(), []);
  t.mock.timers.tick(1);
  assert.deepEqual(done(), ['unload', 'trim']);
  t.mock.timers.tick(TEN_MINUTES_MS * 2);
  assert.deepEqual(done(), [], 'once');
  const { follower } = followAll(pipeline);
  assert.deepEqual(done(), ['load', 'active true']);
  t.mock.timers.tick(TEN_MINUTES_MS * 2);
  assert.deepEqual(done(), [], 'somebody follows');
  follower.close();
  assert.deepEqual(done(), ['active false']);
  t.mock.timers.tick(TEN_MINUTES_MS / 2);
  followAll(pipeline).follower.close();
  assert.deepEqual(done(), ['active true', 'active false'], 'they were loaded yet');
  t.mock.timers.tick(TEN_MINUTES_MS - 1);
  assert.deepEqual(done(), [], 'since the last one');
  t.mock.timers.tick(1);
  assert.deepEqual(done(), ['unload', 'trim']);
});

test('programs are unloaded after the time that is asked for, or never', (t) => {
  const soon = withPrograms(t, 1000);
  t.mock.timers.tick(1000);
  assert.deepEqual(soon.done(), ['unload', 'trim']);
  t.mock.timers.reset();
  const never = withPrograms(t, 0);
  t.mock.timers.tick(TEN_MINUTES_MS * 100);
  assert.deepEqual(never.done(), []);
});

test('who follows first after programs were loaded again reads what holds of them', (t) => {
  const lack = { code: 'KTRACE_N_NO_CONNTRACK', text: 'translations cannot be told' };
  const notices: (typeof lack)[] = [lack];
  const { pipeline } = openPipeline(t, {
    tracer: { notices: notices as never, hooks: () => [], load: () => notices.splice(0).length > 0 },
  });
  assert.deepEqual(followAll(pipeline).codes(), []);
});

test('programs that an exchange has left unloaded are loaded for those who follow, as often as it takes', (t) => {
  const { pipeline, outdated, refused, done } = withPrograms(t);
  followAll(pipeline);
  done();
  outdated.push(true);
  refused.add('reload').add('load');
  t.mock.timers.tick(COUNT_MS);
  assert.deepEqual(done(), ['active false', 'reload', 'load']);
  refused.clear();
  t.mock.timers.tick(COUNT_MS);
  assert.deepEqual(done(), ['load', 'active true']);
});

test('nothing is loaded once the pipeline is closed', (t) => {
  const { pipeline, done } = withPrograms(t);
  t.mock.timers.tick(TEN_MINUTES_MS);
  done();
  pipeline.close();
  assert.throws(() => followAll(pipeline), { code: 'KTRACE_E_TRACING', message: /going down/ });
  t.mock.timers.tick(TEN_MINUTES_MS * 2);
  assert.deepEqual(done(), []);
});

test('programs that cannot be unloaded are tried again', (t) => {
  const { done, refused } = withPrograms(t);
  refused.add('unload');
  t.mock.timers.tick(TEN_MINUTES_MS);
  assert.deepEqual(done(), ['unload']);
  refused.clear();
  t.mock.timers.tick(TEN_MINUTES_MS);
  assert.deepEqual(done(), ['unload', 'trim']);
});

test('a follow whose programs cannot be loaded is refused with what the kernel says, doctor says it too, and the next one is tried', (t) => {
  const { pipeline, done, refused } = withPrograms(t);
  t.mock.timers.tick(TEN_MINUTES_MS);
  done();
  refused.add('load');
  assert.throws(() => followAll(pipeline), { code: 'KTRACE_E_LOAD', message: /could not be loaded/ });
  assert.equal(pipeline.followers, 0);
  const { works, reason } = pipeline.report();
  assert.equal(works, false);
  assert.match(reason ?? '', /The BPF programs could not be loaded: load\nh$/);
  assert.deepEqual(done(), ['load', 'load']);
  refused.clear();
  assert.equal(pipeline.report().works, true);
  followAll(pipeline);
  assert.deepEqual(done(), ['load', 'active true'], 'doctor has loaded them');
});
