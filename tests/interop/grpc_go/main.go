// A client or a server of unary gRPC with grpc-go, for bytes that somebody else makes.
// usage: grpc-go-peer client 127.0.0.1:PORT identity|gzip [CA]  < calls
//
//	grpc-go-peer server 127.0.0.1:PORT identity|gzip
//
// What it reads and writes is that of ../node/grpc.mjs; its server adds how a message was encoded.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// Messages are bytes.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }

func (raw) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte{}, data...)
	return nil
}

var lock sync.Mutex

func say(what any) {
	line, err := json.Marshal(what)
	if err != nil {
		log.Fatal(err)
	}
	lock.Lock()
	defer lock.Unlock()
	fmt.Println(string(line))
}

type call struct {
	Path      string            `json:"path"`
	Body      []byte            `json:"body"`
	Metadata  map[string]string `json:"metadata"`
	TimeoutMs int               `json:"timeout_ms"`
}

type said struct {
	Code    codes.Code `json:"code"`
	Message string     `json:"message"`
	Body    []byte     `json:"body"`
}

func runClient(address, compression string, more []string) {
	transport := insecure.NewCredentials()
	if len(more) > 0 {
		fromFile, err := credentials.NewClientTLSFromFile(more[0], "")
		if err != nil {
			log.Fatal(err)
		}
		transport = fromFile
	}
	options := []grpc.CallOption{grpc.ForceCodec(raw{})}
	if compression != encoding.Identity {
		options = append(options, grpc.UseCompressor(compression))
	}
	channel, err := grpc.NewClient(
		address,
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(options...),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer channel.Close()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var next call
		if err := json.Unmarshal(lines.Bytes(), &next); err != nil {
			log.Fatal(err)
		}
		say(one(channel, next))
	}
}

func one(channel *grpc.ClientConn, next call) said {
	limit := time.Duration(next.TimeoutMs) * time.Millisecond
	within, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for name, value := range next.Metadata {
		if strings.HasSuffix(name, "-bin") {
			var decoded []byte
			if err := json.Unmarshal([]byte(`"`+value+`"`), &decoded); err != nil {
				log.Fatal(err)
			}
			value = string(decoded)
		}
		within = metadata.AppendToOutgoingContext(within, name, value)
	}
	answer := []byte{}
	ended := status.Convert(channel.Invoke(within, next.Path, &next.Body, &answer))
	return said{ended.Code(), ended.Message(), answer}
}

type request struct {
	Path     string `json:"path"`
	Body     []byte `json:"body"`
	Encoding string `json:"encoding"`
}

// Only statistics tell how a message was encoded.
type watcher struct{}

type encoded struct{}

func (watcher) TagRPC(within context.Context, _ *stats.RPCTagInfo) context.Context {
	return context.WithValue(within, encoded{}, new(string))
}

func (watcher) HandleRPC(within context.Context, what stats.RPCStats) {
	if head, ok := what.(*stats.InHeader); ok {
		*within.Value(encoded{}).(*string) = head.Compression
	}
}

func (watcher) TagConn(within context.Context, _ *stats.ConnTagInfo) context.Context {
	return within
}

func (watcher) HandleConn(context.Context, stats.ConnStats) {}

func export(_ any, stream grpc.ServerStream) error {
	path, _ := grpc.MethodFromServerStream(stream)
	if !strings.HasPrefix(path, "/opentelemetry.proto.collector.") {
		return status.Errorf(codes.Unimplemented, "unknown method %s", path)
	}
	var body []byte
	if err := stream.RecvMsg(&body); err != nil {
		return err
	}
	told := *stream.Context().Value(encoded{}).(*string)
	if told == "" {
		told = encoding.Identity
	}
	say(request{path, body, told})
	if strings.HasPrefix(string(body), "fail") {
		return status.Error(codes.Unavailable, "100 % müde")
	}
	return stream.SendMsg(&[]byte{})
}

func runServer(address string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(
		grpc.ForceServerCodec(raw{}),
		grpc.StatsHandler(watcher{}),
		grpc.UnknownServiceHandler(export),
		grpc.MaxRecvMsgSize(64<<20),
	)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		server.GracefulStop()
	}()
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}

func main() {
	if len(os.Args) < 4 {
		log.Fatal("usage: see the source")
	}
	switch os.Args[1] {
	case "client":
		runClient(os.Args[2], os.Args[3], os.Args[4:])
	default:
		runServer(os.Args[2])
	}
}
