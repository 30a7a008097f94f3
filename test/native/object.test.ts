import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { loadNative } from '../../src/native/load.ts';
import type { BpfObject, BpfObjectOptions } from '../../src/native/types.ts';
import { until } from '../support/until.ts';
import { cannot, compile, thrown, u32 } from './support.ts';

const frame = new Uint8Array(64);

/** What the kernel says of each file that is open. */
function fdInfos(): string[] {
  return readdirSync('/proc/self/fdinfo').flatMap((fd) => {
    try {
      return readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
    } catch {
      // Of the listing itself.
      return [];
    }
  });
}

describe('a BPF object', { skip: cannot }, () => {
  let path: string;
  let object: BpfObject;
  before(() => {
    path = compile('good');
    object = loadNative().openObject(path, {
      config: { cfg_pair: u32(3, 4) },
      expect: { cfg_layout_version: u32(7) },
      mapSizes: { records: 1 << 16, numbers: 5000 },
      without: ['end_chain'],
    });
  });
  after(() => object?.close());

  it('is loaded with its configuration, sizes and choice of programs', () => {
    assert.equal(object.testRun('give_config', frame).returnValue, 3004);
    assert.deepEqual(object.getGlobal('cfg_pair'), Buffer.from(u32(3, 4)));
    assert.deepEqual(object.mapInfo('numbers'), { keyBytes: 4, valueBytes: 8, maxEntries: 5000 });
    assert.equal(object.mapInfo('records').maxEntries, 1 << 16);
    assert.ok(object.programs().includes('on_packet'));
    assert.equal(object.programs().includes('end_chain'), false);
    assert.equal(thrown(() => object.programInfo('end_chain')).code, 'ENOENT');
  });

  it('keeps what is written into a map, and gives all entries of it', () => {
    const count = 3000;
    for (let key = 0; key < count; key++) object.mapUpdate('numbers', u32(key), u32(key * 2, 0));
    assert.deepEqual(object.mapLookup('numbers', u32(17)), Buffer.from(u32(34, 0)));
    assert.equal(object.mapLookup('numbers', u32(count)), undefined);
    const entries = object.mapEntries('numbers');
    const found = new Map<number, number>();
    for (let at = 0; at < entries.length; at += 12) found.set(entries.readUInt32LE(at), entries.readUInt32LE(at + 4));
    assert.equal(found.size, count);
    for (const [key, value] of found) assert.equal(value, key * 2);
    assert.equal(object.mapEntries('numbers', 10).length, 120);
    assert.equal(object.mapDelete('numbers', u32(17)), true);
    assert.equal(object.mapDelete('numbers', u32(17)), false);
    assert.equal(thrown(() => object.mapUpdate('numbers', u32(1), u32(1, 0), 1)).code, 'EEXIST');
  });

  it('gives entries with their last values when it removes them, and leaves out what is not there', () => {
    for (const key of [4001, 4002, 4003]) object.mapUpdate('numbers', u32(key), u32(key * 2, 0));
    const keys = Buffer.concat([4001, 4999, 4003].map((key) => u32(key)));
    const taken = [u32(4001, 8002, 0), u32(4003, 8006, 0)];
    assert.deepEqual(object.mapTake('numbers', keys), Buffer.concat(taken));
    assert.deepEqual(object.mapTake('numbers', keys), Buffer.alloc(0));
    assert.ok(object.mapLookup('numbers', u32(4002)));
    assert.equal(thrown(() => object.mapTake('numbers', keys.subarray(1))).code, 'KTRACE_E_ARGUMENT');
  });

  it('gives the values of all CPUs of a per-CPU map', () => {
    const { valueBytes } = object.mapInfo('per_cpu');
    assert.equal(valueBytes % 8, 0);
    const value = Buffer.alloc(valueBytes);
    for (let at = 0; at < valueBytes; at += 8) value.writeUInt32LE(at + 1, at);
    object.mapUpdate('per_cpu', u32(1), value);
    assert.deepEqual(object.mapLookup('per_cpu', u32(1)), value);
    assert.deepEqual(object.mapEntries('per_cpu').subarray(4 + valueBytes + 4), value);
  });

  it('runs a program as often as it was told to, whatever signals come meanwhile', async (t) => {
    let signals = 0;
    const count = () => signals++;
    process.on('SIGUSR2', count);
    const signaller = spawn('sh', ['-c', `while kill -USR2 ${process.pid} 2> /dev/null; do sleep 0.001; done`]);
    t.after(async () => {
      signaller.kill('SIGKILL');
      await once(signaller, 'close');
      process.off('SIGUSR2', count);
    });
    await until('signals come', () => signals > 0);
    const before = object.getGlobal('seen').readBigUInt64LE();
    object.testRun('on_packet', frame, 1, 1_000_000);
    assert.equal(object.getGlobal('seen').readBigUInt64LE() - before, 1_000_000n);
    const during = signals;
    await until('signals come again', () => signals > during);
  });

  it('changes global variables while it runs', () => {
    object.setGlobal('seen', u32(40, 0));
    assert.equal(object.testRun('on_packet', frame, 1, 2).returnValue, 0xffff_ffff);
    assert.deepEqual(object.getGlobal('seen'), Buffer.from(u32(42, 0)));
    assert.deepEqual(object.getGlobal('last_ifindex'), Buffer.from(u32(1)));
    const bits = Buffer.alloc(4096, 7);
    object.setGlobal('bits', bits);
    assert.deepEqual(object.getGlobal('bits'), bits);
    assert.equal(thrown(() => object.setGlobal('cfg_pair', u32(1, 1))).code, 'EROFS');
    assert.equal(thrown(() => object.setGlobal('seen', u32(1))).code, 'EINVAL');
    assert.equal(thrown(() => object.getGlobal('unheard_of')).code, 'ENOENT');
  });

  it('calls a program that was put into a program array', () => {
    assert.equal(object.testRun('dispatch', frame).returnValue, 0);
    object.mapSetProgram('bodies', 1, 'body');
    assert.equal(object.testRun('dispatch', frame).returnValue, 42);
    assert.equal(thrown(() => object.mapSetProgram('numbers', 1, 'body')).code, 'EINVAL');
  });

  it('attaches to a tracepoint until it is detached', async () => {
    const switched = () => object.getGlobal('switched').readUInt32LE();
    object.setGlobal('switched', u32(5, 0));
    assert.equal(switched(), 5);
    const handle = object.attachTracing('on_syscall');
    await until('a system call is seen', () => switched() === 6);
    object.detach(handle);
    await until('system calls are seen no more', async () => {
      object.setGlobal('switched', u32(5, 0));
      await new Promise(setImmediate);
      return switched() === 5;
    });
    assert.equal(thrown(() => object.detach(handle)).code, 'ENOENT');
  });

  it('counts its runs while statistics are on', () => {
    const { id, instructions, runCount, runNs } = object.programInfo('on_packet');
    assert.ok(id > 0 && instructions > 3);
    const statistics = loadNative().enableStats();
    object.testRun('on_packet', frame, 1, 100);
    assert.equal(object.programInfo('on_packet').runCount, runCount + 100n);
    assert.ok(object.programInfo('on_packet').runNs > runNs);
    statistics.close();
    statistics.close();
  });

  it('refuses arguments of the wrong size or type by name', () => {
    assert.match(thrown(() => object.mapUpdate('numbers', u32(1), u32(1))).message, /Expected 8 bytes for value of map numbers/);
    assert.match(thrown(() => object.mapLookup('numbers', u32(1, 2))).message, /Expected 4 bytes for key of map numbers/);
    assert.match(thrown(() => object.attachTc('on_packet', 0, 'in', 'tcx')).message, /for ifindex, got 0/);
    assert.match(thrown(() => object.attachTc('on_packet', 1, 'ingress' as 'in', 'tcx')).message, /in, out for direction/);
    assert.match(thrown(() => object.testRun('on_packet', 'x' as unknown as Uint8Array)).message, /Uint8Array for data/);
    assert.equal(thrown(() => object.mapLookup('unheard_of', u32(1))).op, 'find map unheard_of');
    assert.equal(thrown(() => object.attachTc('on_packet', 0x7fff_fff0, 'in', 'tcx')).code, 'ENODEV');
    assert.equal(thrown(() => object.attachTc('on_packet', 0x7fff_fff0, 'in', 'clsact')).code, 'ENODEV');
  });
});

describe('opening an object', { skip: cannot }, () => {
  const native = loadNative();

  it('tells the verifier’s last lines when a program is refused', () => {
    const error = thrown(() => native.openObject(compile('bad')));
    assert.equal(error.code, 'EACCES');
    assert.equal(error.op, 'load program read_anywhere');
    assert.match(error.log ?? '', /invalid mem access/);
    assert.ok((error.log ?? '').split('\n').length <= 25);
  });

  it('refuses an object of another layout and tells both values', () => {
    const path = compile('good');
    const error = thrown(() => native.openObject(path, { expect: { cfg_layout_version: u32(8) } }));
    assert.equal(error.code, 'KTRACE_E_LAYOUT');
    assert.match(error.message, /expected cfg_layout_version = 08000000.*found 07000000/);
    assert.ok(error.hint);
    const missing = thrown(() => native.openObject(path, { expect: { cfg_other: u32(8) } }));
    assert.match(missing.message, /found no such variable/);
  });

  it('says what is wrong with a file that is no BPF object', () => {
    assert.equal(thrown(() => native.openObject('/nowhere.o')).code, 'ENOENT');
    const text = compile('good').replace('good', 'text');
    writeFileSync(text, 'This is no object.\n'.repeat(100));
    const error = thrown(() => native.openObject(text));
    assert.equal(error.code, 'ENOEXEC');
    assert.match(error.log ?? '', /ELF/);
    assert.equal(thrown(() => native.openObject('/proc/self/exe')).op, 'open object /proc/self/exe');
  });

  it('allocates a map’s elements at once, or as they come', () => {
    const flagsOf = (options: BpfObjectOptions) => {
      const one = native.openObject(compile('good'), { mapSizes: { numbers: 4321 }, ...options });
      const found = fdInfos().flatMap((text) => /^max_entries:\t4321\nmap_flags:\t0x(\d+)/m.exec(text)?.[1] ?? []);
      one.close();
      return found;
    };
    assert.deepEqual(flagsOf({}), ['0']);
    assert.deepEqual(flagsOf({ preallocated: { numbers: false } }), ['1']);
    assert.deepEqual(flagsOf({ preallocated: { numbers: true } }), ['0']);
  });

  it('refuses unknown names and wrong sizes in its options', () => {
    const path = compile('good');
    assert.equal(thrown(() => native.openObject(path, { config: { cfg_nothing: u32(1) } })).op, 'find variable cfg_nothing');
    assert.match(thrown(() => native.openObject(path, { config: { cfg_pair: u32(1) } })).message, /of 8 bytes to 4 bytes/);
    assert.equal(thrown(() => native.openObject(path, { mapSizes: { nothing: 1 } })).op, 'find map nothing');
    assert.equal(thrown(() => native.openObject(path, { preallocated: { nothing: true } })).op, 'find map nothing');
    assert.equal(thrown(() => native.openObject(path, { preallocated: { numbers: 1 as never } })).code, 'KTRACE_E_ARGUMENT');
    assert.equal(thrown(() => native.openObject(path, { without: ['nothing'] })).op, 'leave out program nothing');
    assert.equal(thrown(() => native.openObject(path, { mapSizes: { numbers: 0 } })).code, 'KTRACE_E_ARGUMENT');
    assert.equal(thrown(() => native.openObject('', {})).code, 'KTRACE_E_ARGUMENT');
  });

  it('relocates against the kernel’s types, and does without those it lacks', () => {
    const object = native.openObject(compile('core'), { moduleBtf: 'nf_conntrack' });
    assert.equal(object.testRun('read_ifindex', frame, 1).returnValue, 1);
    object.close();
  });
});

describe('the kernel’s types', { skip: cannot }, () => {
  const { btf } = loadNative();

  it('are answered by name', () => {
    assert.equal(btf.available(), true);
    assert.equal(btf.hasStruct('sk_buff'), true);
    assert.equal(btf.hasStruct('sk_buff_of_nobody'), false);
    assert.equal(btf.hasMember('sk_buff', 'len'), true);
    assert.equal(btf.hasMember('sk_buff', 'dev'), true, 'inside an anonymous union');
    assert.equal(btf.hasMember('sk_buff', 'nothing'), false);
    assert.equal(btf.enumValues('skb_drop_reason')?.['SKB_NOT_DROPPED_YET'], 0);
    assert.equal(btf.enumValues('unheard_of'), undefined);
    assert.deepEqual(btf.tracepointArguments('kfree_skb')?.slice(0, 3), ['struct sk_buff *', 'void *', 'enum skb_drop_reason']);
    assert.equal(btf.tracepointArguments('unheard_of'), undefined);
  });
});
