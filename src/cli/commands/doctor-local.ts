import { statSync } from 'node:fs';
import { Interfaces } from '../../agent/kernel/interfaces.ts';
import type { ProbesOptions } from '../../agent/kernel/probes/probes.ts';
import { Tracer } from '../../agent/kernel/tracer.ts';
import { brokenNode, diagnose } from '../../agent/pipeline/doctor.ts';
import type { NodeReport } from '../../event/node-report.ts';
import { loadNative } from '../../native/load.ts';
import { KtraceError } from '../../util/errors.ts';
import { createLog } from '../../util/log.ts';

export interface LocalOptions {
  node: string;
  version: string;
  objectPath: string;
  probes: ProbesOptions['backend'];
}

/**
 * This machine, without an agent: loads and attaches everything as an agent does while somebody follows, looks, and takes it all down again. Agents
 * that run here are not disturbed.
 */
export function localReport({ node, version, objectPath, probes }: LocalOptions): NodeReport {
  const log = createLog('doctor', 'error');
  const native = loadNative();
  let tracer: Tracer;
  try {
    tracer = new Tracer({
      native,
      objectPath,
      netns: statSync('/proc/self/ns/net').ino,
      ringBytes: 1 << 20,
      podRate: 0,
      attach: 'auto',
      probes,
      keepFilters: true,
    });
  } catch (error) {
    if (!(error instanceof KtraceError)) throw error;
    return brokenNode(node, version, native.btf.available(), error);
  }
  let interfaces: Interfaces | undefined;
  try {
    interfaces = new Interfaces({ native, tracer, log });
    interfaces.setActive(true);
    return diagnose(node, version, { tracer, interfaces });
  } finally {
    interfaces?.close();
    tracer.close();
  }
}
