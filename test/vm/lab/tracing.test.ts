import { proveLabFiles } from './files.ts';

/** How it is told: attached where it should be, by each node for itself, counted to the last packet, and on a kernel that lacks something. */
proveLabFiles(['kernel/load/attach', 'kernel/facts/nodes', 'kernel/counts/accounting', 'kernel/load/degraded']);
