// Command mosn is MOSN 1.3.0 with what weir's tests and benchmarks compare with: HTTP/1, HTTP/2, Bolt and TCP proxies.
// MOSN's own main package needs modules that no registry has any more; the packages that do the work are the same.
//
// Usage: mosn -c FILE, built by `build` beside this file.
package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli"
	"mosn.io/api"
	_ "mosn.io/mosn/pkg/filter/listener/originaldst"
	_ "mosn.io/mosn/pkg/filter/network/connectionmanager"
	_ "mosn.io/mosn/pkg/filter/network/proxy"
	_ "mosn.io/mosn/pkg/filter/network/streamproxy"
	_ "mosn.io/mosn/pkg/filter/stream/ipaccess"
	"mosn.io/mosn/pkg/mosn"
	_ "mosn.io/mosn/pkg/network"
	_ "mosn.io/mosn/pkg/protocol"
	"mosn.io/mosn/pkg/protocol/xprotocol"
	"mosn.io/mosn/pkg/protocol/xprotocol/bolt"
	"mosn.io/mosn/pkg/protocol/xprotocol/boltv2"
	_ "mosn.io/mosn/pkg/router"
	_ "mosn.io/mosn/pkg/server/keeper"
	"mosn.io/mosn/pkg/stagemanager"
	_ "mosn.io/mosn/pkg/stream/http"
	_ "mosn.io/mosn/pkg/stream/http2"
	xstream "mosn.io/mosn/pkg/stream/xprotocol"
	_ "mosn.io/mosn/pkg/upstream/healthcheck"
)

func main() {
	app := cli.NewApp()
	app.Name = "mosn"
	app.Flags = []cli.Flag{cli.StringFlag{Name: "config, c", Usage: "load the configuration from `FILE`"}}
	app.Action = serve
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(context *cli.Context) error {
	stages := stagemanager.InitStageManager(context, context.String("config"), mosn.NewMosn())
	stages.AppendParamsParsedStage(func(*cli.Context) {
		xprotocol.RegisterXProtocolAction(xstream.NewConnPool, xstream.NewStreamFactory, func(api.XProtocolCodec) {})
		for _, codec := range []api.XProtocolCodec{&bolt.XCodec{}, &boltv2.XCodec{}} {
			if err := xprotocol.RegisterXProtocolCodec(codec); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	})
	stages.AppendInitStage(mosn.DefaultInitStage)
	stages.AppendPreStartStage(mosn.DefaultPreStartStage)
	stages.AppendStartStage(mosn.DefaultStartStage)
	stages.RunAll()
	return nil
}
