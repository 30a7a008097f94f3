import { proveLabFiles } from './files.ts';

/** The same of those that come in from beyond the node. */
proveLabFiles(['kernel/counts/entered-uplink']);
