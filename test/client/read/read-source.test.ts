import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { suite, type TestContext, test } from 'node:test';
import { readServices } from '../../../src/client/dump/services.ts';
import { DumpFile } from '../../../src/client/file/dump-file.ts';
import type { ToldService } from '../../../src/client/merge/told-services.ts';
import { runRead } from '../../../src/client/read/read.ts';
import { EXIT } from '../../../src/util/errors.ts';
import { flow, pod } from '../events.ts';

const SERVICE: ToldService = {
  ...{ namespace: 'shop', name: 'web', nodes: ['host1'], endpoints: [] },
  states: [{ uid: 's1', type: 'ClusterIP', ips: ['10.96.0.1'], ports: [], from: '2026-11-22T08:00:00.000Z' }],
} as never;

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'ktrace-source-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A dump of 3000 conversations and a Service; gives its path. */
async function dump(t: TestContext): Promise<string> {
  const path = join(folder(t), 'a.ktrace');
  const targets = [{ kind: 'all' as const }];
  const manifest = { v: 1 as const, made: '', targets, since: '', until: '', nodes: ['host1'], missing: [] };
  const file = await DumpFile.create(path, manifest);
  for (let at = 0; at < 3000; at++) {
    const src = pod('web', '10.0.0.1', 'host1', 1000 + at);
    await file.add(flow({ id: `f${at}`, node: 'host1', src, dst: { ip: '10.0.0.2', port: 80 } }));
  }
  await file.services([SERVICE]);
  await file.end(manifest, 'all');
  await file.close();
  return path;
}

function sink(): { stream: Writable; text(): string } {
  const chunks: string[] = [];
  const write = (chunk: Buffer, _: string, done: () => void): void => {
    chunks.push(String(chunk));
    done();
  };
  return { stream: new Writable({ write }), text: () => chunks.join('') };
}

/** In small pieces, as a pipe has them. */
function pipeOf(bytes: Buffer, pieceBytes = 1000): Readable {
  const pieces = Array.from({ length: Math.ceil(bytes.length / pieceBytes) }, (_, at) =>
    bytes.subarray(at * pieceBytes, (at + 1) * pieceBytes),
  );
  return Readable.from(pieces);
}

async function read(path: string, stdin = Readable.from([]), words: string[] = []) {
  const [stdout, stderr] = [sink(), sink()];
  const lookUp = () => Promise.resolve([]);
  const io = { stdin, stdout: stdout.stream, stderr: stderr.stream, interrupt: new AbortController().signal, env: {}, lookUp };
  const ended = runRead({ path, words, output: 'json', color: false }, io);
  const error = await ended.then(
    () => undefined,
    (failure: { code: string; message: string }) => failure,
  );
  return { code: error === undefined ? await ended : undefined, error, stdout: stdout.text(), stderr: stderr.text() };
}

const spoolsIn = (where: string) => readdirSync(where).filter((name) => name.startsWith('ktrace-read-'));

suite('reading what comes by a pipe', () => {
  test('a dump is read as from its file, with a filter, and leaves nothing behind', async (t) => {
    const where = folder(t);
    const before = process.env['TMPDIR'];
    const path = await dump(t);
    process.env['TMPDIR'] = where;
    t.after(() => {
      if (before === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = before;
    });
    for (const words of [[], ['port', '1500']]) {
      const fromFile = await read(path, undefined, words);
      for (const pieceBytes of [1, 1000, 1e7].slice(words.length === 0 ? 1 : 0)) {
        const fromPipe = await read('-', pipeOf(readFileSync(path), pieceBytes), words);
        assert.deepEqual(fromPipe, fromFile);
      }
      assert.equal(fromFile.code, EXIT.ok);
      assert.equal(fromFile.stdout.trimEnd().split('\n').length, words.length === 0 ? 3000 : 1);
    }
    assert.deepEqual(spoolsIn(where), []);
  });

  test('its Services are, too', async (t) => {
    const path = await dump(t);
    const [stdout, stderr] = [sink(), sink()];
    await readServices('-', 'json', { stdin: pipeOf(readFileSync(path)), stdout: stdout.stream, stderr: stderr.stream });
    assert.equal((JSON.parse(stdout.text()) as ToldService).name, 'web');
  });

  test('half a dump is told as such, by the name of the pipe', async (t) => {
    const bytes = readFileSync(await dump(t));
    const { error, stdout } = await read('-', pipeOf(bytes.subarray(0, bytes.length / 2)));
    assert.match(error?.message ?? '', /^- is half a dump/);
    assert.ok(stdout.length > 0);
  });

  test('a named pipe is not opened before it is read: its writer would lose its reader', async (t) => {
    const path = await dump(t);
    const pipe = join(folder(t), 'pipe');
    execFileSync('mkfifo', [pipe]);
    const writer = spawn('sh', ['-c', `exec cat ${path} > ${pipe}`]);
    t.after(() => writer.kill());
    const exit = new Promise((resolve) => writer.once('exit', resolve));
    const { code, stdout } = await read(pipe);
    assert.deepEqual([code, stdout.trimEnd().split('\n').length], [EXIT.ok, 3000]);
    assert.equal(await exit, 0);
  });

  test('what is neither a dump nor a capture is told with all that could be read', async (t) => {
    const other = join(folder(t), 'other');
    writeFileSync(other, 'KTRASH and more');
    for (const [path, stdin] of [
      ['-', pipeOf(readFileSync(other))],
      [other, undefined],
    ] as const) {
      const { error } = await read(path, stdin);
      assert.equal(error?.code, 'KTRACE_E_CAPTURE_FORMAT');
      assert.match(
        error?.message ?? '',
        /^Expected a dump of ktrace, a pcap or a pcapng file for .*, got a file that begins with 4b545241$/,
      );
    }
    assert.match((await read('-')).error?.message ?? '', /got an empty file$/);
  });
});
