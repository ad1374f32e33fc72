// The echo server of the first example in Node's net documentation, with the options of all servers here.
const net = require('node:net');

const server = net.createServer({ noDelay: true }, (connection) => {
  connection.on('error', () => {}); // a reset peer must not end the process
  connection.pipe(connection);
});
server.listen(Number(process.argv[2]), '127.0.0.1', 65535, () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
