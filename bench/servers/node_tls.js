// The same as node_pipe.js through TLS: `node_tls.js PORT CERTIFICATE KEY`.
const fs = require('node:fs');
const tls = require('node:tls');

const [port, cert, key] = process.argv.slice(2);
const options = { noDelay: true, cert: fs.readFileSync(cert), key: fs.readFileSync(key) };
const server = tls.createServer(options, (connection) => {
  connection.on('error', () => {}); // a reset peer must not end the process
  connection.pipe(connection);
});
server.listen(Number(port), '127.0.0.1', 65535, () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
