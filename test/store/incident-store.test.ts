import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { Incident } from '../../src/event/incident.ts';
import { BlockBuilder } from '../../src/store/block-builder.ts';
import { IncidentStore, MOST_INCIDENTS } from '../../src/store/incident-store.ts';

const BUDGET_BYTES = 1_000_000;

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-incidents-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'incidents');
}

function incident(number: number, uid = `u${number}`): Incident {
  const pod = { namespace: 'default', name: `pod-${number}`, uid };
  const causes = [{ kind: 'exited', container: 'app', exitCode: 1, text: 'container app ended with exit code 1' } as const];
  const id = number.toString(16).padStart(8, '0');
  return { id, pod, atMs: 1000 + number, causes, fromMs: 0, toMs: 2000, records: 1, cut: 0, isWhole: true };
}

function block(text: string): Buffer {
  const builder = new BlockBuilder('records');
  builder.add(JSON.stringify({ text }), 1, ['u']);
  return builder.take().bytes;
}

async function textsOf(store: IncidentStore, id: string): Promise<{ texts: string[]; damaged: unknown[] }> {
  const damaged: unknown[] = [];
  const texts: string[] = [];
  for await (const { raw } of store.read(id, undefined, (damage) => damaged.push(damage))) texts.push(raw.toString().trimEnd());
  return { texts, damaged };
}

describe('incidents on disk', () => {
  it('are there after a restart, with their records, for root alone, and one is replaced as a whole', async (t) => {
    const folder = folderOf(t);
    const first = await IncidentStore.open(folder, BUDGET_BYTES);
    await first.put({ incident: { ...incident(1), isWhole: false }, places: 'a:1:b:2' }, [block('one')]);
    await first.put({ incident: incident(2), places: undefined }, []);
    writeFileSync(join(folder, 'half.tmp'), 'what was being written');
    const second = await IncidentStore.open(folder, BUDGET_BYTES);
    assert.equal(JSON.stringify(second.list()), JSON.stringify(first.list()));
    assert.equal(second.list()[0]?.places, 'a:1:b:2');
    const kept = await second.blocksOf('00000001');
    await second.put({ incident: incident(1), places: undefined }, [...kept, block('two')]);
    assert.deepEqual(await textsOf(second, '00000001'), { texts: ['{"text":"one"}', '{"text":"two"}'], damaged: [] });
    assert.equal(second.find('00000001')?.isWhole, true);
    const names = readdirSync(folder);
    assert.equal(names.length, 2);
    for (const name of names) assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600);
    assert.equal(
      second.totalBytes,
      names.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0),
    );
  });

  it('are a bounded number, the oldest goes first, and a pod that fails again and again pushes out its own alone', async (t) => {
    const store = await IncidentStore.open(folderOf(t), BUDGET_BYTES);
    assert.ok(store.mostBytes > 0 && store.mostBytes < BUDGET_BYTES / 20);
    await store.put({ incident: incident(1), places: undefined }, []);
    for (let number = 2; number < 40; number++)
      await store.put({ incident: incident(number, 'crashing'), places: undefined }, []);
    assert.deepEqual(
      store.list().map(({ incident: { pod } }) => pod.name),
      ['pod-1', 'pod-36', 'pod-37', 'pod-38', 'pod-39'],
    );
    for (let number = 100; number < 130; number++) await store.put({ incident: incident(number), places: undefined }, []);
    assert.equal(store.list().length, MOST_INCIDENTS);
    assert.equal(store.list()[0]?.incident.pod.name, 'pod-110');
  });

  it('that are damaged are told with their place, and what is whole of them is read', async (t) => {
    const folder = folderOf(t);
    const store = await IncidentStore.open(folder, BUDGET_BYTES);
    await store.put({ incident: incident(1), places: undefined }, [block('one'), block('two'), block('three')]);
    await store.put({ incident: incident(2), places: undefined }, [block('one')]);
    const [first = '', second = ''] = readdirSync(folder)
      .sort()
      .map((name) => join(folder, name));
    const bytes = readFileSync(first);
    const at = bytes.lastIndexOf('KBLK', bytes.lastIndexOf('KBLK') - 1);
    bytes.writeUInt8(bytes.readUInt8(at + 60) ^ 1, at + 60);
    writeFileSync(first, bytes);
    truncateSync(second, 40);
    const again = await IncidentStore.open(folder, BUDGET_BYTES);
    const read = await textsOf(again, '00000001');
    assert.deepEqual(read.texts, ['{"text":"one"}', '{"text":"three"}']);
    assert.equal(read.damaged.length, 1);
    assert.deepEqual(again.list().length, 1);
    assert.deepEqual(
      again.damaged.map(({ bytes: size }) => size),
      [40],
    );
  });
});
