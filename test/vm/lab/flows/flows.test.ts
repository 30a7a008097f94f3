import { proveLabFiles } from '../files.ts';

/** The table of flows: by itself, because it is waited for until it is empty again. */
proveLabFiles(['kernel/counts/flows']);
