package weir.peers;

import com.alipay.remoting.Connection;
import com.alipay.remoting.InvokeContext;
import com.alipay.remoting.rpc.RpcClient;
import com.alipay.sofa.rpc.codec.bolt.SofaRpcSerializationRegister;
import com.alipay.sofa.rpc.core.request.SofaRequest;
import com.alipay.sofa.rpc.core.response.SofaResponse;

/**
 * Calls {@link Hello} over a new connection each time, with the Bolt client of SOFARPC. Arguments: direct=HOST:PORT, and
 * if wanted unique=, version=, period=, timeout= (of connecting and of the call), slow=. For standard input see
 * {@link Calls}.
 */
public final class Fresh {
    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        String address = options.need("direct");
        String unique = options.get("unique", "");
        String service = Hello.class.getName() + ":" + options.get("version", "1.0")
            + (unique.isEmpty() ? "" : ":" + unique);
        int timeout = options.number("timeout", 3000);
        int slow = options.number("slow", 0);
        new SofaRpcSerializationRegister().doRegisterCustomSerializer();
        RpcClient client = new RpcClient();
        client.startup();
        new Calls().run(() -> {
            Connection connection = client.createStandaloneConnection(address, timeout);
            try {
                SofaResponse response = (SofaResponse) client.invokeSync(connection, request(service, slow),
                    new InvokeContext(), timeout);
                if (response.isError()) {
                    throw new IllegalStateException(response.getErrorMsg());
                }
                return (String) response.getAppResponse();
            } finally {
                client.closeStandaloneConnection(connection);
            }
        }, options, 20);
        System.exit(0);
    }

    private static SofaRequest request(String service, int slow) {
        SofaRequest request = new SofaRequest();
        request.setInterfaceName(Hello.class.getName());
        request.setTargetServiceUniqueName(service);
        request.setMethodName("who");
        request.setMethodArgSigs(new String[] {"int"});
        request.setMethodArgs(new Object[] {slow});
        request.setTargetAppName("weir-peers");
        request.addRequestProp("protocol", "bolt");
        request.addRequestProp("type", "sync");
        return request;
    }
}
