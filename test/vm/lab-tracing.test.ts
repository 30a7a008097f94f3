import { proveLabFiles } from './lab-files.ts';

/** How it is told: attached where it should be, by each node for itself, counted to the last packet, and on a kernel that lacks something. */
proveLabFiles(['kernel/attach', 'kernel/nodes', 'kernel/accounting', 'kernel/degraded']);
