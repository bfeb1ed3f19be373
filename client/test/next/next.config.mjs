import { fileURLToPath } from 'node:url';

// The lock files of the folders above are of other packages.
export default { turbopack: { root: fileURLToPath(new URL('.', import.meta.url)) } };
