import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ServiceNames } from '../../src/agent/record/names/service-names.ts';
import { Recorder } from '../../src/agent/record/recorder.ts';
import type { ServiceFact, SliceFact } from '../../src/kube/index/facts.ts';
import { NamesIndex } from '../../src/kube/index/names-index.ts';
import type { ServiceWithSlices } from '../../src/kube/index/service-book.ts';
import { waitFor } from '../../src/lab/machine/wait.ts';
import { createLog } from '../../src/util/log.ts';

/**
 * What recording the Services of a cluster takes on one of its nodes: `node --import tsx bench/recording/recorded-services.ts SERVICES ENDPOINTS NEAR`, where NEAR
 * of the Services have an endpoint on the node. Prints one JSON object.
 */
const [SERVICES = 2000, ENDPOINTS = 20_000, NEAR = 100] = process.argv.slice(2).map(Number);
const NODE = 'node-0';
const CHANGES = 100;
const pods = new Map<string, { namespace: string; name: string; uid: string }>();

const folder = mkdtempSync(join(tmpdir(), 'ktrace-services-'));
const index = new NamesIndex({ node: NODE });
for (let at = 0; at < SERVICES; at++) index.putService(serviceFact(at));
index.replaceSlices(Array.from({ length: SERVICES }, (_, at) => sliceFact(at, 0)));
const services = (): Iterable<ServiceWithSlices> => index.servicesWithSlices();
const recorder = await Recorder.start({
  config: { directory: folder, budgetBytes: 512 * 2 ** 20, ageMs: 86_400_000 },
  feed: {
    node: NODE,
    instance: 'i',
    nowNs: () => BigInt(Date.now()) * 1_000_000n,
    follow: () => ({ update: none, close: none }),
  },
  ownPods: () => [],
  isPodAddress: () => false,
  name: none,
  services,
  notice: ({ text }) => process.stderr.write(`${text}\n`),
  withdraw: none,
  lost: (event) => process.stderr.write(`${JSON.stringify(event)}\n`),
  log: createLog('agent', 'silent'),
});
try {
  const names = new ServiceNames({ node: NODE, run: 'i', services, most: 10_000 });
  const first = timed(() => names.take(Date.now()));
  await waitFor(() => recorder.stores.services.totalBytes > 0, 10_000, 50);
  const opening = timed(() => recorder.opening('services'));
  const changes = Array.from({ length: CHANGES }, (_, at) => {
    index.putSlice(sliceFact(at % NEAR, at + 1));
    names.changed();
    return timed(() => names.take(Date.now()));
  });
  const beganMs = performance.now();
  const found = await recorder.recordedServices.read(none);
  const readMs = performance.now() - beganMs;
  const result = {
    ...{ services: SERVICES, endpoints: ENDPOINTS, near: NEAR, leftOut: names.leftOut },
    ...{ firstMs: rounded(first.ms), openingMs: rounded(opening.ms) },
    openingBytes: opening.result.reduce((sum, block) => sum + block.bytes.length, 0),
    changeMs: rounded(changes.map(({ ms }) => ms).sort((a, b) => a - b)[CHANGES / 2] ?? 0),
    linesOfAChange: changes.reduce((sum, one) => sum + one.result.length, 0) / CHANGES,
    readMs: rounded(readMs),
    readEndpoints: found.reduce((sum, { endpoints }) => sum + endpoints.length, 0),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
} finally {
  await recorder.close();
  rmSync(folder, { recursive: true, force: true });
}

function serviceFact(at: number): ServiceFact {
  const flags = { localInside: false, localOutside: false, sourceRanges: false, affinity: false };
  return {
    ...{ namespace: `team-${at % 40}`, name: `app-${at}`, uid: randomUUID(), type: 'ClusterIP', createdMs: 0 },
    ...{ clusterIps: [`10.96.${at >> 8}.${at & 255}`], externalIps: [], balancerIps: [] },
    ports: [{ name: 'http', port: 80, nodePort: undefined, proto: 'tcp' }],
    ...flags,
  };
}

/** Its first endpoint is on the node where it is near; with each version it is another pod. */
function sliceFact(at: number, version: number): SliceFact {
  const { namespace, name: service } = serviceFact(at);
  return {
    ...{ namespace, service, name: `${service}-abcde` },
    createdMs: undefined,
    ports: [{ name: 'http', port: 8080, proto: 'tcp' }],
    endpoints: Array.from({ length: ENDPOINTS / SERVICES }, (_, place) => {
      const number = (at * ENDPOINTS) / SERVICES + place;
      const isNear = place === 0 && at < NEAR;
      const pod = pods.get(`${number} ${place === 0 ? version : 0}`) ?? podOf(namespace, service);
      pods.set(`${number} ${place === 0 ? version : 0}`, pod);
      return {
        ip: `10.${128 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`,
        node: isNear ? NODE : `node-${1 + (number % 400)}`,
        pod,
        isReady: true,
      };
    }),
  };
}

function podOf(namespace: string, service: string): { namespace: string; name: string; uid: string } {
  const uid = randomUUID();
  return { namespace, name: `${service}-${uid.slice(0, 8)}-${uid.slice(9, 13)}x`, uid };
}

function timed<T>(work: () => T): { result: T; ms: number } {
  const beganMs = performance.now();
  return { result: work(), ms: performance.now() - beganMs };
}

function rounded(ms: number): number {
  return Math.round(ms * 10) / 10;
}

function none(): void {
  // Nothing is told to anybody here.
}
