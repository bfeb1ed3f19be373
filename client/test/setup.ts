// Before each file of tests: `vi.waitFor` is as patient as everything else here, instead of one second.
import { vi } from 'vitest';
import { PATIENCE } from './patience.js';

const { waitFor } = vi;
vi.waitFor = (look, options = {}) => waitFor(look, typeof options === 'number' ? options : { timeout: PATIENCE, interval: 10, ...options });
