import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { identify } from '../../src/lab/machine/proc.ts';
import { loadNative } from '../../src/native/load.ts';
import { until } from '../support/until.ts';
import { scenarioCommand, thrown } from './support.ts';

describe('a guarded file', { skip: process.platform !== 'linux' && 'needs Linux' }, () => {
  const native = loadNative();
  let folder: string;
  let path: string;
  const content = () => readFileSync(path, 'utf8').trim();
  const isAlive = (pid: number) => identify(pid) !== undefined;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ktrace-guard-'));
    path = join(folder, 'knob');
    writeFileSync(path, '12345\n');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  async function hold(end: string): Promise<{ child: ChildProcess; guard: number; ended: Promise<unknown> }> {
    const [command, args] = scenarioCommand('guard-holder', path, end);
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    const ended = once(child, 'close');
    const [chunk] = await once(child.stdout, 'data');
    return { child, guard: Number(String(chunk)), ended };
  }

  it('holds the mark until it is closed, then the value, and no process is left', () => {
    const guard = native.guardFile(path, '7589', '0');
    const pid = guard.pid();
    assert.deepEqual([content(), isAlive(pid)], ['7589', true]);
    guard.close();
    assert.deepEqual([content(), isAlive(pid)], ['0', false]);
    guard.close();
  });

  it('is guarded by a process that holds nothing of this one', () => {
    const guard = native.guardFile(path, '7589', '0');
    const held = readdirSync(`/proc/${guard.pid()}/fd`).map((fd) => readlinkSync(`/proc/${guard.pid()}/fd/${fd}`));
    guard.close();
    assert.equal(held.length, 2);
    assert.match(held[0] ?? '', /^socket:/);
    assert.equal(held[1], path);
  });

  it('keeps what somebody else wrote meanwhile, though it begins like the mark', () => {
    for (const written of ['1', '75890']) {
      const guard = native.guardFile(path, '7589', '0');
      writeFileSync(path, written);
      guard.close();
      assert.equal(content(), written);
    }
  });

  for (const end of ['exit', 'throw']) {
    it(`gets its value back when the process ends by ${end}`, async () => {
      const { guard, ended } = await hold(end);
      await ended;
      // The guard is a process of its own, which does it when it sees the end of this one.
      await until('the value is back', () => content() === '0');
      await until('the guard has ended', () => !isAlive(guard));
    });
  }

  it('gets its value back when the process is killed', async () => {
    const { child, guard, ended } = await hold('wait');
    assert.equal(content(), '7');
    child.kill('SIGKILL');
    await ended;
    await until('the value is back', () => content() === '0');
    await until('the guard has ended', () => !isAlive(guard));
  });

  it('gets its value back in time when a terminal ends the whole group', async () => {
    const { child, guard, ended } = await hold('wait');
    for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM'] as const) process.kill(guard, signal);
    assert.equal(isAlive(guard), true);
    child.kill('SIGKILL');
    await ended;
    await until('the value is back', () => content() === '0');
  });

  it('gets its value back from the process when the guard was killed', async () => {
    const guard = native.guardFile(path, '7589', '0');
    process.kill(guard.pid(), 'SIGKILL');
    guard.close();
    assert.equal(content(), '0');
  });

  it('is left as it was where it cannot be guarded', () => {
    assert.equal(thrown(() => native.guardFile(join(folder, 'none'), '7', '0')).code, 'ENOENT');
    assert.equal(thrown(() => native.guardFile(path, '7'.repeat(32), '0')).code, 'EINVAL');
    assert.equal(content(), '12345');
  });
});
