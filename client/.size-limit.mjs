// What a page downloads, minified and gzipped. KiB are 1,024 bytes.

/** As the bundlers of pages do: ES modules stay such. */
const modifyEsbuildConfig = (config) => ({ ...config, format: 'esm', logLevel: 'error' });
const check = (name, path, imports, limit, ignore) => ({ name, path, import: imports, limit, ignore, gzip: true, modifyEsbuildConfig });

const LAZY = ['xhr', 'websocket', 'eventsource', 'more'].map((name) => `./shared/${name}-*`);

export default [
  // The rest is loaded later: what nothing at the start of a page needs, and the other transports where the first does not work.
  check('core', 'dist/index.js', '{ createClient }', '10 KB', LAZY),
  check('core with all that it loads later', 'dist/index.js', '{ createClient }', '13.4 KB'),
  check('outbox, with the core left out', 'dist/outbox/index.js', '{ createOutbox }', '4 KiB', ['../shared/*']),
  check('outbox and cache, with the core left out', 'dist/outbox/index.js', '*', '4.5 KiB', ['../shared/*']),
  check('react, with React left out', 'dist/react/index.js', '*', '2.5 KiB', ['react']),
  check('compat', 'dist/compat/index.js', '*', '2.5 KiB'),
];
