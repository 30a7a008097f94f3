import type { Writable } from 'node:stream';
import { type Api, ApiError, listAll } from './api.ts';

/** A node of the cluster, as the API has it. */
export interface Node {
  metadata: { name: string };
  status?: { nodeInfo?: { kernelVersion?: string } };
}

/** The cluster's nodes, which tell where nothing of ktrace is; empty, with a word on stderr, for who may not list them. */
export async function nodesIfAllowed(
  api: Api,
  { interrupt, stderr }: { interrupt: AbortSignal; stderr: Writable },
): Promise<Node[]> {
  try {
    return await listAll<Node>(api, '/api/v1/nodes', {}, interrupt);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 403) throw error;
    stderr.write('ktrace: you may not list nodes: those without a pod of ktrace are not shown\n');
    return [];
  }
}
