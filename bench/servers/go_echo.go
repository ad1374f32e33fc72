// The usual echo server in Go: a goroutine per connection and io.Copy.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
)

func echo(connection net.Conn) {
	defer connection.Close()
	io.Copy(connection, connection)
}

func main() {
	listener, err := net.Listen("tcp4", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go echo(connection)
	}
}
